# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The app: releases that do not boot, workers that are killed, and what became of its files, volumes and permissions."""

from __future__ import annotations

import json
import re
import shlex
import subprocess

import pytest
from patient import INVENTORY, ROOT, Patient

CURRENT = "/srv/patient/current"
KEEP = f"cp -p {CURRENT}/src/wsgi.py /root/wsgi.py; cp -p {CURRENT}/pygun.py /root/pygun.py"
RESTART = "supervisorctl stop patient:patient-0; supervisorctl start patient:patient-0 || true"
PUT_BACK = f"cp -p /root/wsgi.py {CURRENT}/src/wsgi.py; cp -p /root/pygun.py {CURRENT}/pygun.py; rm -f {CURRENT}/src/statistics.py; {RESTART}"
LOG = "/var/log/patient/patient-0.log"
RAW_LOG = "/var/log/patient/patient-0.raw.log"  # what supervisord and the interpreter say before the app has a log
SILENCE = f": > {LOG}; : > {RAW_LOG}"
GAVE_UP = f"grep -q -e 'Reason: ' -e 'Giving up' -e 'Invalid value' -e 'Permission denied' -e EACCES {LOG} {RAW_LOG}"


def source(text: str) -> str:
    """A script that puts this text in the place of the app's source, and has one instance boot from it."""
    if not text:
        return f"{KEEP}; sed -i 's/wsgi:app/wsgj:app/' {CURRENT}/pygun.py; {SILENCE}; {RESTART}"
    return f"{KEEP}; printf %s {shlex.quote(text)} > {CURRENT}/src/wsgi.py; {SILENCE}; {RESTART}"


# 6, 7, 11: releases that do not boot

BAD = {
    "a module that exists nowhere": (
        "import only_on_my_machine\n",
        ["imports only_on_my_machine", r"src/wsgi.py\", line 1", "ModuleNotFoundError: No module named 'only_on_my_machine'"],
    ),
    "a wrong module": ("", ["imports wsgj", "neither its source nor its venv has it", "flask_app_wsgi"]),
    "a wrong attribute": ("application = None\n", ["no attribute app", "flask_app_wsgi"]),
    "a factory that is not called": (
        "def app():\n    def real(environ, start_response): pass\n    return real\n",
        ["takes 0 positional arguments", "health"],
    ),
    "a line that does not compile": ("def app(:\n", ["does not compile", r"src/wsgi.py\", line 1"]),
    "an import that fails": ("from os import no_such_name\n", ["An import fails: cannot import name 'no_such_name'"]),
    "a command line that is parsed": (
        "import argparse, sys\nsys.argv[1:] = ['-w', '4']\nargparse.ArgumentParser().parse_args()\n",
        ["parses a command line", "unrecognized arguments: -w 4"],
    ),
    "an exit": ("import sys\nsys.exit(1)\n", ["sys.exit"]),
    "an exception of its own": ("raise KeyError('rows')\n", ["raises KeyError", "rows", r"src/wsgi.py\", line 1"]),
}  # fmt: skip


FEW = ("a module that exists nowhere",)


@pytest.mark.parametrize(
    "text, phrases",
    [
        pytest.param(*value, id=key, marks=() if key in FEW else pytest.mark.full)
        for key, value in BAD.items()
        if "factory" not in key
    ],
)
def test_the_apps_own_words_are_shown_when_it_does_not_boot(patient: Patient, text: str, phrases: list[str]) -> None:
    with patient.ill(source(text), PUT_BACK):
        patient.wait(GAVE_UP)
        log = patient.sh("tail -n 60 /var/log/patient/patient-0.log")
        assert re.search("Worker failed to boot|App failed to load|ended before they were ready", log)
        patient.diagnosed("instance-failed", "patient-0 is [A-Z]+", *phrases)


@pytest.mark.full
def test_a_module_shadowed_by_a_file_of_the_app_is_named(patient: Patient) -> None:
    with patient.ill(
        f"{source('import statistics; statistics.mean([1])')}; echo > {CURRENT}/src/statistics.py; {RESTART}", PUT_BACK
    ):
        patient.wait(GAVE_UP)
        patient.diagnosed("instance-failed", "module 'statistics' has no attribute", "a file statistics.py of the app")


@pytest.mark.full
def test_a_factory_that_is_not_called_is_told_by_its_health(patient: Patient) -> None:
    text, _phrases = BAD["a factory that is not called"]
    with patient.ill(source(text), PUT_BACK):
        patient.diagnosed("health-failing", "answers 500")


@pytest.mark.full
def test_an_app_that_fails_to_load_before_its_workers_exist_is_told_too(patient: Patient) -> None:
    preload = f"sed -i 's/^preload_app = False/preload_app = True/' {CURRENT}/pygun.py; {RESTART}"
    with patient.ill(f"{source('import only_on_my_machine')}; {preload}", PUT_BACK):
        patient.wait(GAVE_UP)
        patient.diagnosed("instance-failed", "imports only_on_my_machine", r"src/wsgi.py\", line 1")


@pytest.mark.full
def test_a_setting_that_gunicorn_rejects_is_named(patient: Patient) -> None:
    with patient.ill(
        f"{KEEP}; sed -i 's/^keepalive = .*/keepalive = \"soon\"/' {CURRENT}/pygun.py; {RESTART}", PUT_BACK
    ):
        patient.wait(GAVE_UP)
        patient.diagnosed("instance-failed", "rejects the setting keepalive = ", "soon")


@pytest.mark.full
def test_an_instance_that_gave_up_is_named(patient: Patient) -> None:
    conf = "/etc/supervisor/conf.d/patient.conf"
    once = f"cp -p {conf} /root/patient.conf; sed -i 's/^startretries=.*/startretries=0/; s/^startsecs=.*/startsecs=30/' {conf}; supervisorctl update"
    with patient.ill(
        f"{source('import gone')}; {once}", f"{PUT_BACK}; cp -p /root/patient.conf {conf}; supervisorctl update"
    ):
        patient.wait("[ $(supervisorctl status | grep -c FATAL) = 2 ]")
        report = patient.examine()
        assert report.codes == ["instance-failed", "instance-failed"], report.words
        assert "patient-1 is FATAL (Exited too quickly" in report.words
        assert report.exit_status != 0


def test_a_stopped_instance_is_named(patient: Patient) -> None:
    with patient.ill("supervisorctl stop patient:patient-1", "supervisorctl start patient:patient-1"):
        patient.diagnosed("instance-stopped", "patient-1 is STOPPED", "supervisorctl start patient:patient-1")


def test_a_health_check_that_fails_is_named(patient: Patient) -> None:
    text = "def app(environ, start_response):\n    start_response('503 NO DATABASE', [])\n    return [b'no database']\n"
    with patient.ill(source(text), PUT_BACK):
        patient.diagnosed("health-failing", "GET /healthz of patient-0 answers 503: no database")


# 10: blocked and slow

ASK = """python3 -c "
import socket
s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect('/run/patient/patient-0.sock')
s.sendall(b'GET {path} HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n')
try: s.recv(1)
except OSError: pass
" """
TIMEOUT = "grep -q 'WORKER TIMEOUT' /var/log/patient/patient-0.log"
SHORT = f"{KEEP}; sed -i 's/^timeout = .*/timeout = 2/' {CURRENT}/pygun.py"
FRESH = f": > /var/log/patient/patient-0.log; {RESTART}"


@pytest.mark.parametrize(
    "path, function", [("/blocks", "wait_without_gevent"), pytest.param("/computes", "compute", marks=pytest.mark.full)]
)
def test_a_call_that_blocks_the_loop_is_named_by_file_and_line(patient: Patient, path: str, function: str) -> None:
    with patient.ill(f"{SHORT}; {FRESH}", f"{PUT_BACK}; {FRESH}"):
        patient.wait_until_well()
        patient.sh(ASK.format(path=path))
        patient.wait(TIMEOUT)
        patient.wait_until_well()
        patient.diagnosed("worker-blocked", rf"src/wsgi.py:\d+ in {function}", "WORKER TIMEOUT", "Not a slow request")


@pytest.mark.full
def test_a_slow_request_of_a_sync_worker_is_told_from_a_blocked_loop(patient: Patient) -> None:
    sync = f"{SHORT}; sed -i 's/^worker_class = .*/worker_class = \"sync\"/; /^worker_connections/d' {CURRENT}/pygun.py; {FRESH}"
    with patient.ill(sync, f"{PUT_BACK}; {FRESH}"):
        patient.wait_until_well()
        patient.sh(ASK.format(path="/blocks"))
        patient.wait(TIMEOUT)
        patient.wait_until_well()
        patient.diagnosed(
            "slow-request", "WORKER TIMEOUT", "sync worker serves one request at a time", "raise flask_app_timeout"
        )


def test_an_instance_that_is_busy_with_a_call_that_blocks_is_named(patient: Patient) -> None:
    with patient.ill("true", RESTART):
        patient.background(
            f"sh -c {shlex.quote(ASK.format(path='/blocks').replace('settimeout(20)', 'settimeout(60)'))}"
        )
        patient.wait("ss -x | grep -q 'patient-0.sock'")
        patient.diagnosed(
            "instance-silent", "GET /healthz of patient-0 gives no answer within 5 s", "a call blocks its event loop"
        )


# 13: killed, full, forbidden, and the clock


@pytest.mark.full  # the next test has the same line of the log; what the kernel counts decides in tests/unit/doctor
def test_a_worker_killed_by_somebody_is_told_from_one_that_ran_out_of_memory(patient: Patient) -> None:
    with patient.ill("pkill -9 -u patient -P $(supervisorctl pid patient:patient-0)", FRESH):
        patient.wait("grep -q 'Perhaps out of memory' /var/log/patient/patient-0.log")
        patient.wait_until_well()
        patient.diagnosed("worker-killed", "SIGKILL", "another process sent the signal", severity="warning")


def test_a_worker_that_ran_out_of_memory_is_named_with_the_kernels_count(patient: Patient) -> None:
    text = """
keep = []

def app(environ, start_response):
    while environ["PATH_INFO"] == "/eats":
        keep.append(bytearray(4000000))
    start_response("200 OK", [])
    return [b""]
"""
    limit = "systemctl set-property --runtime supervisord.service MemoryMax=300M"
    with patient.ill(
        f"{source(text)}; {limit}",
        f"systemctl set-property --runtime supervisord.service MemoryMax=infinity; {PUT_BACK};"
        " systemctl stop supervisord; systemctl revert supervisord; rmdir /sys/fs/cgroup/memory/system.slice/supervisord.service;"
        " : > /var/log/patient/patient-0.log; systemctl start supervisord",
    ):
        patient.wait_until_well()
        if "314572800" not in patient.sh("cat /sys/fs/cgroup/memory/system.slice/supervisord.service/memory.limit_in_bytes"
                                         " /sys/fs/cgroup/system.slice/supervisord.service/memory.max 2>/dev/null", check=False):  # fmt: skip
            pytest.skip("this machine does not give its containers the memory controller")
        patient.sh(ASK.format(path="/eats"))
        patient.wait("grep -q 'Perhaps out of memory' /var/log/patient/patient-0.log")
        patient.wait_until_well()
        patient.diagnosed("out-of-memory", "counts [1-9]", "flask_app_workers")


@pytest.mark.parametrize(
    "options, fill, code",
    [
        ("size=4m", "dd if=/dev/zero of=/srv/patient/shared/fill bs=1M", "disk-full"),
        pytest.param(
            "nr_inodes=40",
            "for n in $(seq 50); do touch /srv/patient/shared/$n; done",
            "inodes-full",
            marks=pytest.mark.full,
        ),
    ],
)
def test_a_full_disk_is_told_from_one_without_inodes(patient: Patient, options: str, fill: str, code: str) -> None:
    mount = f"mount -t tmpfs -o uid=$(id -u patient),gid=$(id -g patient),mode=750,{options} tmpfs /srv/patient/shared"
    with patient.ill(f"{mount}; {fill} 2>/dev/null; true", "umount /srv/patient/shared"):
        patient.diagnosed(code, "No space left on device", "/srv/patient/shared")


FORBIDDEN = {
    "the release": ("chmod 0700 $(readlink -f /srv/patient/current)", "chmod 0750 $(readlink -f /srv/patient/current)", "may not read the release"),
    "the environment file": ("chmod 0600 /etc/pygun/patient.env", "chmod 0640 /etc/pygun/patient.env", "may not read its environment file"),
    "the run directory": ("chmod 0755 /run/patient", "chmod 1770 /run/patient", "may not write its sockets and readiness records"),
    "a log": (f"chown root:root {LOG}; chmod 0600 {LOG}", f"chown patient:patient {LOG}; chmod 0640 {LOG}", "may not write its log"),
    "the app's directory": ("chmod 0700 /srv/patient", "chmod 0755 /srv/patient", "/srv/patient is root:root 0700"),
}  # fmt: skip


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=() if what == "the release" else pytest.mark.full) for what in FORBIDDEN]
)
def test_a_permission_that_is_missing_is_named(patient: Patient, what: str) -> None:
    breaking, healing, phrase = FORBIDDEN[what]
    with patient.ill(breaking, healing):
        patient.diagnosed("permission-denied", phrase, "user patient may not")


@pytest.mark.full
def test_an_instance_that_may_not_read_its_release_is_one_finding(patient: Patient) -> None:
    with patient.ill(
        f"chmod 0700 $(readlink -f {CURRENT}); {SILENCE}; {RESTART}", f"chmod 0750 $(readlink -f {CURRENT}); {RESTART}"
    ):
        patient.wait(GAVE_UP)
        patient.diagnosed("permission-denied", "may not read the release")


def test_a_release_that_the_app_could_change_is_a_warning(patient: Patient) -> None:
    with patient.ill(f"chown patient $(readlink -f {CURRENT})", f"chown root $(readlink -f {CURRENT})"):
        patient.diagnosed(
            "release-writable", "the user patient may write to /srv/patient/releases/", severity="warning"
        )


@pytest.mark.parametrize(
    "folder, code",
    [
        ("/run/patient", "run-dir-missing"),
        pytest.param("/var/log/patient", "log-dir-missing", marks=pytest.mark.full),
    ],
)
def test_a_directory_of_the_app_that_is_gone_is_one_finding(patient: Patient, folder: str, code: str) -> None:
    with patient.ill(f"mv {folder} {folder}.away", f"mv {folder}.away {folder}"):
        patient.diagnosed(code, f"there is no {folder}")


@pytest.mark.full
def test_an_instance_that_never_gets_ready_and_does_not_say_why_is_named(patient: Patient) -> None:
    with patient.ill(f"{SILENCE}; rm /run/patient/patient-0.*.ready", RESTART):
        patient.diagnosed("instance-not-ready", "patient-0 is RUNNING, but not ready: 0 of 1 workers")


def test_an_app_that_is_not_here_is_a_warning(patient: Patient) -> None:
    report = patient.examine("-e", "flask_app_name=nobody")
    assert report.codes == ["no-app"]
    assert report.exit_status == 0


def test_a_secret_that_everybody_can_read_is_a_warning(patient: Patient) -> None:
    with patient.ill("chmod 0644 /etc/pygun/patient.env", "chmod 0640 /etc/pygun/patient.env"):
        patient.diagnosed("secret-readable", "root:patient 0644", severity="warning")


def test_a_clock_that_is_behind_its_own_files_is_named(patient: Patient) -> None:
    with patient.ill("touch -d '+3 hours' /srv/patient/state.json", "touch /srv/patient/state.json"):
        patient.diagnosed("clock-off", "/srv/patient/state.json was written 3 hours in the future")


def test_a_clock_far_from_the_control_nodes_is_named(patient: Patient) -> None:
    done = subprocess.run(
        ["ansible", "-i", str(INVENTORY), "containers", "-m", "pygun.stack.doctor", "-a", "control_clock=1000000000"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert "clock-off" in done.stdout, done.stdout
    assert "days ahead of the control node" in done.stdout


# 12: volumes


def test_a_volume_that_is_not_mounted_is_one_finding(patient: Patient) -> None:
    away = "supervisorctl stop all; mv /srv/patient /root/volume; mkdir /srv/patient; echo '/root/volume /srv/patient none bind 0 0' > /etc/fstab"
    back = (
        "umount /srv/patient; rmdir /srv/patient; mv /root/volume /srv/patient; : > /etc/fstab; supervisorctl start all"
    )
    with patient.ill(f"{away}; supervisorctl start patient:patient-0; true", back):
        patient.diagnosed(
            "mount-missing", r"/srv/patient is not mounted \(/etc/fstab: /root/volume\)", "mount /srv/patient"
        )


@pytest.mark.full
def test_a_release_that_is_gone_is_one_finding(patient: Patient) -> None:
    with patient.ill(f"mv {CURRENT} /root/current; {RESTART}", f"mv /root/current {CURRENT}; {RESTART}"):
        patient.diagnosed("release-missing", "there is no /srv/patient/current")


# what deploys leave


def test_an_instance_on_another_release_than_current_is_named(patient: Patient) -> None:
    own = patient.sh(f"readlink {CURRENT}").strip()
    other = "releases/0123456789abcdef"
    with patient.ill(
        f"cd /srv/patient; cp -a {own} {other}; ln -sfn {other} current; supervisorctl restart patient:patient-0",
        f"cd /srv/patient; ln -sfn {own} current; supervisorctl restart patient:patient-0; rm -r {other}",
    ):
        patient.wait("grep -q 0123456789abcdef /run/patient/patient-0.json")
        patient.diagnosed(
            "other-release", "patient-1 runs release [0-9a-f]{16}, and /srv/patient/current is 0123456789abcdef"
        )


@pytest.mark.full
def test_a_restart_that_was_killed_is_named(patient: Patient) -> None:
    kill = """python3 -c "
import json, os, time
end = time.time() + 300
while time.time() < end:
    try: told = json.load(open('/srv/patient/activation.json'))
    except (OSError, ValueError): continue
    if told['step'].startswith('roll'):
        os.kill(told['pid'], 9)
        break
" """
    patient.background(kill)
    done = patient.playbook("restart", "-e", "flask_app_name=patient", "-e", "flask_app_wsgi=wsgi:app")
    assert done.returncode != 0, done.stdout
    patient.wait("flock --nonblock /srv/patient/activation.lock true", 120)  # an instance drains under its protection
    patient.wait_until_well()
    patient.diagnosed("interrupted-activation", "/srv/patient/activation.json is there, and no deploy runs")
    done = patient.playbook("restart", "-e", "flask_app_name=patient", "-e", "flask_app_wsgi=wsgi:app")
    assert done.returncode == 0, done.stdout
    assert patient.examine().codes == []


@pytest.mark.full
def test_gunicorns_own_gevent_worker_is_a_warning(patient: Patient) -> None:
    stock = f"{KEEP}; sed -i 's/^worker_class = .*/worker_class = \"gevent\"/' {CURRENT}/pygun.py; {RESTART}"
    with patient.ill(stock, PUT_BACK):
        patient.wait_until_well()
        patient.diagnosed("stock-worker", "deploys and restarts can lose requests", severity="warning")


def test_a_program_that_supervisord_does_not_run_is_named(patient: Patient) -> None:
    with patient.ill("supervisorctl stop patient:*; supervisorctl remove patient", "supervisorctl add patient"):
        patient.diagnosed("program-not-loaded", "supervisord does not know the program")
    conf = "/etc/supervisor/conf.d/patient.conf"
    with patient.ill(f"mv {conf} /root/", f"mv /root/patient.conf {conf}"):
        patient.diagnosed("program-missing", "nothing in /etc/supervisor/conf.d starts it")


# 14: the package index


UNREACHABLE = {"python_index_url": "http://127.0.0.1:1/simple"}
WITHOUT_INDEX = {"python_extra_args": ["--no-index", "--find-links", "/opt"]}


@pytest.mark.full
@pytest.mark.parametrize(
    "settings, phrase",
    [
        (UNREACHABLE, "Cause: The package index cannot be reached"),
        (WITHOUT_INDEX, "Cause: The index (or the wheelhouse) does not have what is required: gunicorn"),
    ],
)
def test_a_deploy_says_why_the_index_gives_nothing(patient: Patient, settings: dict[str, object], phrase: str) -> None:
    app = {
        "flask_app_name": "patient",
        "flask_app_src": f"{ROOT}/tests/acceptance/doctor/app/",
        "flask_app_packages": ["no-such-thing"],
    }
    done = patient.playbook("deploy", "-e", json.dumps({**app, **settings}))
    assert done.returncode != 0
    text = " ".join(done.stdout.split())
    assert phrase in text, done.stdout
    assert "What to do: " in text
    assert "was not touched" in text
    assert patient.examine().codes == []
