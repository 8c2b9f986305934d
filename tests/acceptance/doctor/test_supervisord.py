# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""supervisord, its unit, its configuration, its socket and whoever is in its way."""

from __future__ import annotations

import pytest
from patient import Patient

CTL = "/opt/pygun/supervisor/bin/supervisorctl -c /etc/supervisor/supervisord.conf"
DAEMON = "/opt/pygun/supervisor/bin/supervisord -c /etc/supervisor/supervisord.conf"
CONF = "/etc/supervisor/supervisord.conf"
PROGRAM = "/etc/supervisor/conf.d/patient.conf"
KEEP = f"cp -p {CONF} /root/supervisord.conf; cp -p {PROGRAM} /root/patient.conf"
PUT_BACK = f"cp -p /root/supervisord.conf {CONF}; cp -p /root/patient.conf {PROGRAM}"
FAILED = "systemctl is-failed --quiet supervisord || ! systemctl is-active --quiet supervisord"
RESTART = "systemctl reset-failed supervisord; systemctl restart supervisord"


def test_a_healthy_host_gives_a_short_all_clear(patient: Patient) -> None:
    done = patient.playbook("doctor")
    assert done.returncode == 0
    shown = done.stdout[done.stdout.index("all is well") :]
    assert "patient: release " in shown
    assert "2 of 2 instances ready, 2 workers, address 127.0.0.1:5000, logs in /var/log/patient" in shown
    assert "supervisord 4.3.0" in shown
    # supervisord says so of every socket without a password. Ours is open to root alone (mode 0700), who needs none.
    assert "CRIT Server 'unix_http_server' running without any HTTP authentication checking" in patient.sh(
        "cat /var/log/supervisor/supervisord.log*"
    )


def test_the_doctor_changes_nothing(patient: Patient) -> None:
    # The doctor asks the instances as a caller does, and they count their requests.
    counts = "-name '*.requests' -o -path /run/patient -o -name __pycache__"
    listing = f"find /etc /srv /opt/pygun /run/patient /run/supervisor -not \\( {counts} \\) -printf '%p %m %U %G %s %T@\\n' | sort"
    before = patient.sh(listing)
    assert patient.examine().exit_status == 0
    assert patient.sh(listing) == before


# 1, 2: who else has the address


def test_a_foreign_program_on_the_apps_port_is_named_and_left_alone(patient: Patient) -> None:
    # Healed by nothing but the end of that program: supervisord goes on trying.
    with patient.ill("systemctl stop supervisord", "pkill -u nobody -f http.server"):
        patient.background(
            "setpriv --reuid=65534 --regid=65534 --clear-groups python3 -m http.server 5000 --bind 127.0.0.1"
        )
        patient.wait("ss -ltn | grep -q :5000")
        patient.sh("systemctl start supervisord")
        patient.wait("supervisorctl status | grep -q BACKOFF")
        pid = patient.sh("pgrep -u nobody -f http.server").strip()
        patient.diagnosed(
            "port-taken", rf"pid {pid} of user nobody.*python3 -m http.server 5000", r"127.0.0.1:5000", r"\[Errno 98\]",
            "the app then comes up by itself",
        )  # fmt: skip
        assert patient.sh("pgrep -u nobody -f http.server").strip() == pid


def test_an_orphan_of_the_app_itself_is_told_from_a_foreign_program(patient: Patient) -> None:
    with patient.ill(
        "systemctl stop supervisord",
        # It may have started an instance when the orphan's port was free.
        f"systemctl stop supervisord; pkill -u patient; while pgrep -u patient; do sleep 0.2; done; {RESTART}",
    ):
        patient.background(
            "setpriv --reuid=patient --regid=patient --init-groups env -C /srv/patient/shared setsid"
            " $(readlink -f /srv/patient/current)/venv/bin/python $(readlink -f /srv/patient/current)/venv/bin/gunicorn"
            " -c $(readlink -f /srv/patient/current)/pygun.py"
        )
        patient.wait("ss -ltn | grep -q :5000")
        patient.sh("systemctl start supervisord")
        patient.wait("supervisorctl status | grep -q BACKOFF")
        patient.diagnosed(
            "orphan", r"pid \d+ of user patient", "supervisord does not know it", r"\[Errno 98\]", r"kill \d+"
        )


@pytest.mark.full
def test_a_second_supervisord_with_the_same_configuration_is_named(patient: Patient) -> None:
    with patient.ill(
        "systemctl stop supervisord; mkdir -p /run/supervisor",
        "systemctl stop supervisord; pkill -f bin/supervisor[d];"
        f" while pgrep -f bin/supervisor[d] || pgrep -u patient; do sleep 0.2; done; {RESTART}",
    ):
        patient.background(DAEMON)
        patient.wait("ss -ltn | grep -q :5000")
        # Started by hand it ends even earlier, at our programs' sockets; a bare one comes as far as this.
        patient.sh(f"sed '/^.include/,$d; s#^pidfile=.*#pidfile=/root/third.pid#' {CONF} > /root/third.conf")
        said = patient.sh(f"{DAEMON.replace(CONF, '/root/third.conf')}; rm /root/third.*", check=False)
        assert (
            "Another program is already listening on a port that one of our HTTP servers is configured to use" in said
        )
        # systemd removes /run/supervisor, and the socket in it, when its own one has failed: the next one gets that far.
        patient.sh("systemctl start supervisord", check=False)
        patient.wait("supervisorctl status | grep -q BACKOFF")
        patient.diagnosed(
            "supervisor-second",
            "a second supervisord runs",
            r"pid \d+ of user root",
            "Another program is already listening",
        )


def test_the_distributions_supervisor_is_named(patient: Patient) -> None:
    unit = """[Service]
ExecStart=/opt/pygun/supervisor/bin/supervisord -n -c /root/other.conf
"""
    conf = "[supervisord]\nnodaemon=true\nuser=root\nlogfile=/root/other.log\npidfile=/root/other.pid\n"
    with patient.ill(
        f"printf '{unit}' > /etc/systemd/system/supervisor.service; printf '{conf}' > /root/other.conf;"
        " systemctl daemon-reload; systemctl start supervisor",
        "systemctl stop supervisor; rm /etc/systemd/system/supervisor.service /root/other.*; systemctl daemon-reload",
    ):
        patient.diagnosed("supervisor-second", "in supervisor.service", "systemctl disable --now supervisor.service")


@pytest.mark.full
def test_a_foreign_program_on_the_port_of_the_web_page_is_named(patient: Patient) -> None:
    page = "\\n[inet_http_server]\\nport=127.0.0.1:9001\\nusername=u\\npassword=long-enough\\n"
    with patient.ill(
        f"{KEEP}; printf '{page}' >> {CONF}; systemctl stop supervisord",
        f"pkill -u nobody -f http.server; {PUT_BACK}; {RESTART}",
    ):
        patient.background(
            "setpriv --reuid=65534 --regid=65534 --clear-groups python3 -m http.server 9001 --bind 127.0.0.1"
        )
        patient.wait("ss -ltn | grep -q :9001")
        patient.sh("systemctl start supervisord", check=False)
        patient.wait(FAILED)
        assert "Another program is already listening on a port" in patient.sh("journalctl -u supervisord -o cat -n 40")
        patient.diagnosed(
            "web-port-taken", r"pid \d+ of user nobody.*http.server 9001", "Another program is already listening"
        )


# 3: what a crash leaves


def test_what_a_killed_supervisord_left_behind_is_named(patient: Patient) -> None:
    with patient.ill("systemctl stop supervisord; mkdir -p /run/supervisor", RESTART):
        patient.background(DAEMON)
        patient.wait("test -S /run/supervisor/supervisor.sock && ss -ltn | grep -q :5000")
        patient.sh("kill -9 $(cat /run/supervisor/supervisord.pid); sleep 1; pkill -u patient; true")
        patient.wait("! pgrep -u patient")
        assert "refused connection" in patient.sh(f"{CTL} status", check=False)
        patient.diagnosed(
            "stale-files", "/run/supervisor/supervisor.sock and /run/supervisor/supervisord.pid", "refused connection"
        )


# 4, 5: the configuration


@pytest.mark.full
def test_a_missing_supervisorctl_section_is_named(patient: Patient) -> None:
    with patient.ill(f"{KEEP}; sed -i '/^.supervisorctl/,/^$/d; /^serverurl/d' {CONF}", PUT_BACK):
        assert ".ini file does not include supervisorctl section" in patient.sh(f"{CTL} status", check=False)
        patient.diagnosed("conf-section", r"no section \[supervisorctl\] in /etc/supervisor/supervisord.conf")


@pytest.mark.full
def test_a_missing_rpcinterface_section_is_named_before_and_after_it_takes_effect(patient: Patient) -> None:
    with patient.ill(f"{KEEP}; sed -i '/rpcinterface/d' {CONF}", f"{PUT_BACK}; {RESTART}"):
        patient.diagnosed("conf-section", r"no section \[rpcinterface:supervisor\]")
        patient.sh(RESTART)
        patient.wait(f"{CTL} status | grep -q 'did not recognize'")
        patient.diagnosed("conf-section", r"no section \[rpcinterface:supervisor\]")
        patient.sh(PUT_BACK)
        patient.diagnosed("supervisor-rpcinterface", "responded but did not recognize the supervisor namespace")


def test_a_value_that_supervisor_does_not_take_is_named(patient: Patient) -> None:
    with patient.ill(f"{KEEP}; sed -i 's/^autostart=true/autostart=true./' {PROGRAM}", PUT_BACK):
        patient.diagnosed("supervisor-value", "not a valid boolean value: 'true.'", "patient")


@pytest.mark.full
def test_a_line_that_is_no_setting_is_named(patient: Patient) -> None:
    with patient.ill(f"{KEEP}; sed -i '1i nonsense' {PROGRAM}", PUT_BACK):
        patient.diagnosed("supervisor-syntax", "File contains no section headers", PROGRAM)


def test_a_character_that_nobody_sees_is_named_by_line_and_code_point(patient: Patient) -> None:
    with patient.ill(f"{KEEP}; printf 'autorestart=true\\302\\240\\n' >> {PROGRAM}", PUT_BACK):
        patient.diagnosed("hidden-character", rf"{PROGRAM}, line \d+, column 17: U\+00A0")


@pytest.mark.full  # other files
def test_a_character_that_nobody_sees_is_named_in_every_file(patient: Patient) -> None:
    env = "/etc/pygun/patient.env"
    with patient.ill(
        f"cp -p {env} /root/; printf 'X=\"\\342\\200\\2131\"\\n' >> {env}", f"cp -p /root/patient.env {env}"
    ):
        patient.diagnosed("hidden-character", rf"{env}, line \d+, column 4: U\+200B")
    with patient.ill(f"{KEEP}; sed -i 's/$/\\r/' {CONF}", PUT_BACK):
        patient.diagnosed("hidden-character", rf"{CONF}, line 1, .*U\+000D \(Windows line end\)")


@pytest.mark.full
def test_what_an_app_means_to_have_in_its_environment_is_no_finding(patient: Patient) -> None:
    """A scientist: two pictures with a zero-width joiner between."""
    env = "/etc/pygun/patient.env"
    picture = "\\360\\237\\221\\251\\342\\200\\215\\360\\237\\224\\254"
    with patient.ill(f"cp -p {env} /root/; printf 'X=\"{picture}\"\\n' >> {env}", f"cp -p /root/patient.env {env}"):
        assert patient.examine().codes == []


@pytest.mark.full
def test_a_sign_of_full_width_is_named_by_line_and_code_point(patient: Patient) -> None:
    with patient.ill(f"{KEEP}; sed -i 's/^autostart=/autostart\\xef\\xbc\\x9d/' {PROGRAM}", PUT_BACK):
        patient.diagnosed(
            "supervisor-syntax",
            rf"{PROGRAM}, line \d+, column 10: U\+FF1D FULLWIDTH EQUALS SIGN is in the place of =",
        )


@pytest.mark.parametrize(
    "line, said",
    [
        ("startsecs=0", "startsecs=0: an instance that crashes at once counts as started"),
        pytest.param(
            "stopwaitsecs=0",
            r"stopwaitsecs=0: supervisord kills an instance before gunicorn's graceful_timeout \(30 s\) is over",
            marks=pytest.mark.full,
        ),
        pytest.param("autostart=false", "autostart=false: nothing starts the app after a boot", marks=pytest.mark.full),
        pytest.param("stopsignal=INT", "stopsignal=INT: gunicorn then cuts off its requests", marks=pytest.mark.full),
    ],
)
def test_what_loses_requests_when_it_is_set_by_hand_is_a_warning(patient: Patient, line: str, said: str) -> None:
    name = line.partition("=")[0]
    with patient.ill(f"{KEEP}; sed -i 's/^{name}=.*/{line}/' {PROGRAM}", PUT_BACK):
        patient.diagnosed("program-edited", said, "edited by hand", severity="warning")


@pytest.mark.full
def test_a_configuration_that_is_gone_is_named(patient: Patient) -> None:
    with patient.ill(f"mv {CONF} /root/gone.conf", f"mv /root/gone.conf {CONF}"):
        patient.diagnosed("conf-missing", f"there is no {CONF}")


@pytest.mark.full
def test_a_configuration_that_supervisor_refuses_in_words_of_no_entry_is_shown(patient: Patient) -> None:
    with patient.ill(f"{KEEP}; sed -i '/^files=/d' {CONF}", PUT_BACK):
        patient.diagnosed("conf-invalid", "include")


# 8: the warning about root


@pytest.mark.full
def test_supervisord_does_not_complain_about_root_unless_the_line_is_taken_away(patient: Patient) -> None:
    complaint = (
        "Supervisor is running as root.  Privileges were not dropped because no user is specified in the config file"
    )
    log = "/var/log/supervisor/supervisord.log"
    assert complaint not in patient.sh(f"cat {log}*")
    assert "user=root" in patient.sh(f"cat {CONF}")
    with patient.ill(
        f"{KEEP}; sed -i '/^user=root/d' {CONF}", f"{PUT_BACK}; {RESTART}; sed -i '/running as root/d' {log}"
    ):
        patient.sh(RESTART)
        patient.wait(f"grep -q '{complaint}' {log}")
        patient.wait_until_well()
        patient.diagnosed("supervisor-root", "user=root", severity="warning")


# 12: the unit


def test_a_disabled_unit_is_an_error_though_everything_runs_and_the_only_one_after_a_reboot(patient: Patient) -> None:
    with patient.ill("systemctl disable supervisord", "systemctl enable --now supervisord"):
        patient.diagnosed("unit-disabled", "supervisord.service is disabled and active", "after a reboot nothing runs")
        containers_restart(patient)
        patient.diagnosed("unit-disabled", "supervisord.service is disabled and inactive")


def containers_restart(patient: Patient) -> None:
    from tools import containers

    containers.restart([patient.name])


@pytest.mark.full
def test_a_masked_unit_is_named(patient: Patient) -> None:
    hide = "mv /etc/systemd/system/supervisord.service /root/; systemctl mask supervisord"
    show = "systemctl unmask supervisord; mv /root/supervisord.service /etc/systemd/system/; systemctl daemon-reload"
    with patient.ill(f"systemctl stop supervisord; {hide}", f"{show}; systemctl enable --now supervisord"):
        patient.diagnosed("unit-masked", "systemctl unmask supervisord.service")


@pytest.mark.full  # below, one that fails is seen in the same answer of systemd
def test_a_stopped_unit_is_named(patient: Patient) -> None:
    with patient.ill("systemctl stop supervisord", "systemctl start supervisord"):
        patient.diagnosed("unit-stopped", "supervisord.service is inactive", "systemctl start supervisord")


def test_a_unit_that_fails_is_named_with_its_last_words(patient: Patient) -> None:
    with patient.ill(
        "mv /opt/pygun/supervisor/bin/supervisord /opt/pygun/supervisor/bin/aside; systemctl restart supervisord; true",
        "mv /opt/pygun/supervisor/bin/aside /opt/pygun/supervisor/bin/supervisord",
    ):
        patient.wait("[ $(systemctl show supervisord --property=NRestarts --value) -ge 8 ]", seconds=60)
        patient.diagnosed(
            "unit-failed",
            "supervisord.service is activating",
            "bin/supervisord",
            "It ends each time",
            "it goes on trying",
        )


@pytest.mark.full
def test_a_unit_that_is_gone_is_named(patient: Patient) -> None:
    unit = "/etc/systemd/system/supervisord.service"
    with patient.ill(
        f"systemctl stop supervisord; mv {unit} /root/; systemctl daemon-reload",
        f"mv /root/supervisord.service {unit}; systemctl daemon-reload; systemctl start supervisord",
    ):
        patient.diagnosed("unit-missing", "there is no supervisord.service", "pygun.stack.supervisor installs it")


@pytest.mark.parametrize("how", ["stop", pytest.param("disable", marks=pytest.mark.full)])
def test_a_timer_that_does_not_rotate_the_logs_is_a_warning(patient: Patient, how: str) -> None:
    with patient.ill(f"systemctl {how} pygun-logrotate.timer", "systemctl enable --quiet --now pygun-logrotate.timer"):
        patient.diagnosed(
            "rotation-off", "pygun-logrotate.timer is (enabled and inactive|disabled and active)", severity="warning"
        )


# 15: supervisorctl


def test_a_supervisorctl_that_is_gone_is_named(patient: Patient) -> None:
    folder = "/opt/pygun/supervisor/bin"
    with patient.ill(f"mv {folder}/supervisorctl {folder}/aside", f"mv {folder}/aside {folder}/supervisorctl"):
        patient.diagnosed("supervisorctl", "supervisorctl ends with -1", "No such file")


def test_a_supervisord_that_does_not_answer_is_named(patient: Patient) -> None:
    pid = "$(systemctl show supervisord --property=MainPID --value)"
    with patient.ill(f"kill -STOP {pid}", f"kill -CONT {pid}"):
        patient.diagnosed("supervisord-silent", "supervisord", "SIGSTOP")


def test_a_socket_that_was_deleted_is_named(patient: Patient) -> None:
    with patient.ill("rm /run/supervisor/supervisor.sock", RESTART):
        patient.diagnosed("supervisor-no-socket", "unix:///run/supervisor/supervisor.sock no such file")


@pytest.mark.full
def test_a_socket_on_which_nobody_listens_is_named(patient: Patient) -> None:
    stale = "import socket; socket.socket(socket.AF_UNIX).bind('/run/supervisor/supervisor.sock')"
    with patient.ill(f'rm /run/supervisor/supervisor.sock; python3 -c "{stale}"', RESTART):
        patient.diagnosed("supervisor-refused", "supervisor.sock refused connection")


@pytest.mark.parametrize(
    "given",
    [
        pytest.param("", id="none"),
        pytest.param("username=u\\npassword=wrong", id="a wrong one", marks=pytest.mark.full),
    ],
)
def test_a_password_that_supervisorctl_does_not_have_is_named(patient: Patient, given: str) -> None:
    with patient.ill(
        f"{KEEP}; sed -i 's/^chmod=0700/chmod=0700\\nusername=u\\npassword=p/; s/^.supervisorctl.$/&\\n{given}/' {CONF}; {RESTART}",
        f"{PUT_BACK}; {RESTART}",
    ):
        patient.wait(f"{CTL} status | grep -q 'requires authentication'")
        patient.diagnosed("supervisor-password", "Server requires authentication")
