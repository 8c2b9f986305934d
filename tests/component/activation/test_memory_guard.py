"""The event listener that restarts an instance at its memory cap, with a real leak under real load."""

import contextlib
import fcntl
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.instance.run_directory import RunDirectory
from ansible_collections.pygun.stack.plugins.module_utils.supervisor import program_files, program_settings

GUARD = Path(__file__).parents[3] / "roles" / "supervisor" / "files" / "memory_guard.py"
MB = 1024 * 1024

LEAKING = """
kept = []
def app(environ, start_response):
    if environ["PATH_INFO"] == "/leak":
        kept.append(b"x" * (1024 * 1024))
    start_response(HEALTH, [("Content-Type", "text/plain")])
    return [VERSION.encode()]
"""


def memory(pid):
    """By another way than the guard's: ps, and the master's children as it names them."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = [int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in [pid, *children]]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


class Guarded:
    """An app and the guard of its memory, as the role has them."""

    def __init__(self, app):
        self.app, self.host = app, app.host
        self.name = f"{app.name}-memory"
        self.conf = app.host.folder / "conf.d" / f"{self.name}.conf"

    def start(self, cap):
        entry = {
            "name": self.name,
            "command": f"{sys.executable} -I {GUARD} --app {self.app.name} --max {cap} --conf {self.app.conf}",
            "user": "root",
            "events": ["TICK_5"],
            "serverurl": f"unix://{self.host.folder}/supervisor.sock",
            "autorestart": "true",
            "startsecs": 0,
        }
        assert list(program_settings.problems("eventlistener", entry)) == []
        self.conf.write_text(program_files.section("eventlistener", entry, str(self.app.log)))
        self.host.status().reload_config()
        self.host.status().add_group(self.name)

    def log(self):
        path = self.app.log / f"{self.name}.log"
        return path.read_text() if path.exists() else ""

    def stop(self):
        supervisor = self.host.status()
        supervisor.call("supervisor.stopProcess", self.name)
        supervisor.remove_group(self.name)
        self.conf.unlink()


@pytest.fixture
def guarded(app):
    result = app.deploy(app.release(source=LEAKING))
    assert not result.get("failed"), result["msg"]
    found = Guarded(app)
    yield found
    found.stop()


def cap_above(app, megabytes):
    return max(memory(pid) for pid in app.pids().values()) + megabytes * MB


def leak(app, name, megabytes):
    """Through the private socket: this instance and no other."""
    for _ in range(megabytes):
        assert RunDirectory(str(app.run)).ask(name, app.pids()[name], "/leak", 5).status == 200


class Watch(threading.Thread):
    """Sees whether there is a moment when not one instance is ready."""

    def __init__(self, app):
        super().__init__()
        self.app, self.least, self.ended = app, 99, threading.Event()

    def run(self):
        run = RunDirectory(str(self.app.run))
        while not self.ended.is_set():
            ready = sum(1 for name, pid in self.app.pids().items() if pid and run.ready_workers(name, pid))
            self.least = min(self.least, ready)
            time.sleep(0.05)


def test_a_leak_is_ended_at_the_cap_and_no_request_is_lost(guarded, load, eventually):
    app = guarded.app
    before = app.pids()
    watch = Watch(app)
    watch.start()
    with load(app, "/leak") as requests:
        guarded.start(cap_above(app, 60))
        first = eventually(lambda: re.search(r"(\S+) was restarted", guarded.log()), 60).group(1)
        assert RunDirectory(str(app.run)).ready_workers(first, app.pids()[first]), "told before it was ready"
        eventually(lambda: all(app.pids()[name] not in (0, pid) for name, pid in before.items()), 60)
        eventually(lambda: guarded.log().count("was restarted") >= 2, 60)
    watch.ended.set()
    watch.join()
    assert requests.failures == []
    assert requests.sent > 100
    assert watch.least >= 1
    assert "ready" in guarded.log()


def test_the_only_instance_is_restarted_while_callers_wait(make_app, load, eventually):
    app = make_app(instances=1)
    result = app.deploy(app.release(source=LEAKING))
    assert not result.get("failed"), result["msg"]
    guarded = Guarded(app)
    try:
        with load(app, "/leak") as requests:
            guarded.start(cap_above(app, 60))
            eventually(lambda: "was restarted" in guarded.log(), 60)
    finally:
        guarded.stop()
    assert requests.failures == []


def test_an_instance_below_the_cap_is_left_alone(guarded):
    pids = guarded.app.pids()
    guarded.start(cap_above(guarded.app, 500))
    time.sleep(6)
    assert guarded.app.pids() == pids
    assert "was restarted" not in guarded.log()


def test_while_another_instance_is_down_none_is_restarted(guarded, eventually):
    app = guarded.app
    cap = cap_above(app, 20)
    leak(app, f"{app.name}-0", 60)
    pid = app.pids()[f"{app.name}-0"]
    app.host.status().call("supervisor.stopProcess", f"{app.name}:{app.name}-1")
    guarded.start(cap)
    eventually(lambda: f"{app.name}-1 is not ready (STOPPED)" in guarded.log(), 60)
    assert app.pids()[f"{app.name}-0"] == pid
    app.host.status().start(f"{app.name}:{app.name}-1")
    eventually(lambda: app.pids()[f"{app.name}-0"] not in (0, pid), 60)


def test_a_deploy_goes_first(guarded, eventually):
    app = guarded.app
    cap = cap_above(app, 20)
    leak(app, f"{app.name}-0", 60)
    pids = app.pids()
    with (app.root / "activation.lock").open("r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        json.dump({"pid": os.getpid(), "since": "now", "by": "a test"}, stream)
        stream.flush()
        guarded.start(cap)
        eventually(lambda: "a deploy, restart or rollback runs" in guarded.log(), 60)
        assert app.pids() == pids
        stream.seek(0)
        stream.truncate()
    eventually(lambda: "was restarted" in guarded.log(), 60)
    assert app.pids()[f"{app.name}-1"] == pids[f"{app.name}-1"]


def test_a_deploy_waits_for_the_guard(guarded):
    """As long as the guard said that it would take, and no longer."""
    app = guarded.app
    guarded.start(cap_above(app, 500))
    with (app.root / "activation.lock").open("r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        json.dump({"pid": os.getpid(), "since": "now", "by": "the guard", "until": time.time() + 60}, stream)
        stream.flush()
        process = app.start("current", restart=True)
        time.sleep(2)
        assert process.poll() is None
    result = app.outcome(process)
    assert result["changed"], result

    with (app.root / "activation.lock").open("r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        json.dump({"pid": os.getpid(), "since": "now", "by": "the guard", "until": time.time() + 1}, stream)
        stream.flush()
        refused = app.activate("current", restart=True)
    assert "started by the guard" in refused["msg"]


def test_a_cap_that_a_fresh_instance_exceeds_restarts_no_app_for_ever(guarded, eventually):
    app = guarded.app
    guarded.start("20MB")
    eventually(lambda: guarded.log().count("raise the cap") == 2, 50)
    pids = app.pids()
    time.sleep(11)
    assert app.pids() == pids


def test_a_guard_that_is_killed_leaves_no_instance_stopped(guarded, eventually):
    app = guarded.app
    cap = cap_above(app, 20)
    leak(app, f"{app.name}-0", 60)
    guarded.start(cap)
    eventually(lambda: app.states()[f"{app.name}-0"] in ("STOPPING", "STOPPED"), 60)
    pid = app.host.status().process(f"{guarded.name}:{guarded.name}").pid
    os.kill(pid, 9)
    eventually(lambda: set(app.states().values()) == {"RUNNING"}, 60)


def test_pages_that_processes_share_count_once(tmp_path):
    """As after a preload: 100 MB that four children share are no 500."""
    code = (
        "import os, sys, time\n"
        "kept = bytearray(os.urandom(1024 * 1024)) * 100\n"
        "for _ in range(4):\n"
        "    if os.fork() == 0:\n"
        "        break\n"
        "os.write(1, bytes([10]))\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    try:
        for _ in range(5):
            assert process.stdout.readline() == b"\n"
        guard = load_guard()
        assert sum(guard.resident_memory(process.pid).values()) > 500 * MB
        assert 100 * MB < guard.memory(process.pid) < 200 * MB
        assert guard.memory(process.pid, 1000 * MB) > 500 * MB, "below the cap, the cheap figure will do"
    finally:
        os.killpg(process.pid, 9)
        process.wait()
    assert guard.memory(process.pid) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_memory_of_another_user_is_read_without_privileges():
    """As in supervisord's unit, which has no CAP_SYS_PTRACE."""
    process = subprocess.Popen(["/bin/sleep", "60"], user="nobody", group="nogroup")
    keep = "-all,+setuid,+setgid"
    code = (
        "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('guard', sys.argv[1])\n"
        "guard = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(guard)\n"
        "try:\n"
        "    open(f'/proc/{sys.argv[2]}/smaps_rollup').read()\n"
        "except PermissionError:\n"
        "    print('refused')\n"
        "print(guard.proportional_memory([int(sys.argv[2])]))\n"
    )
    try:
        time.sleep(0.3)
        done = subprocess.run(
            [
                "setpriv",
                f"--bounding-set={keep}",
                f"--inh-caps={keep}",
                sys.executable,
                "-c",
                code,
                GUARD,
                str(process.pid),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        process.kill()
        process.wait()
    refused, found = done.stdout.split()
    assert refused == "refused"
    assert int(found) > 0


#: All processes that it may send a signal to, but itself.
STOPS = "import os, signal\nwhile True: os.kill(-1, signal.SIGSTOP)"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_app_does_not_stop_the_guard_that_reads_its_memory():
    """It may send signals to each process of its user: the guard would wait for ever, and the cap be off."""
    own = {"user": 61234, "group": 61234, "stdin": subprocess.DEVNULL}  # of nobody else
    process = subprocess.Popen(["/bin/sleep", "60"], **own)
    foe = subprocess.Popen(["/usr/bin/python3", "-c", STOPS], stderr=subprocess.DEVNULL, **own)
    found = []
    reads = threading.Thread(
        target=lambda: found.append(load_guard().proportional_memory([process.pid] * 5000)), daemon=True
    )
    try:
        time.sleep(1)
        reads.start()
        reads.join(30)
        assert found and found[0] > 0
    finally:
        for one in (process, foe):
            one.kill()
            one.wait()
        for name in filter(str.isdigit, os.listdir("/proc")):  # what the foe has stopped
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{name}").st_uid == 61234:
                    os.kill(int(name), 9)


def load_guard():
    spec = importlib.util.spec_from_file_location("memory_guard", GUARD)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
