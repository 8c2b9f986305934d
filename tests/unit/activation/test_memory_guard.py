"""The event listener that restarts an instance at its memory cap, with a real leak under real load."""

import fcntl
import json
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils import program_conf

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
            "command": f"{sys.executable} -I {GUARD} --app {self.app.name} --max {cap} --root {self.app.root}"
            f" --run-dir {self.app.run} --instances {self.app.instances} --stop-timeout 8 --boot-timeout 10",
            "user": "root",
            "events": ["TICK_5"],
            "serverurl": f"unix://{self.host.folder}/supervisor.sock",
            "autorestart": "true",
            "startsecs": 0,
        }
        assert list(program_conf.problems("eventlistener", entry)) == []
        self.conf.write_text(program_conf.section("eventlistener", entry, str(self.app.log)))
        self.host.status().reload_config()
        self.host.status().add_group(self.name)

    def log(self):
        path = self.app.log / f"{self.name}.log"
        return path.read_text() if path.exists() else ""

    def stop(self, eventually):
        supervisor = self.host.status()
        supervisor.call("supervisor.stopProcess", self.name)
        supervisor.remove_group(self.name)
        self.conf.unlink()


@pytest.fixture
def guarded(app, eventually):
    result = app.deploy(app.release(source=LEAKING))
    assert not result.get("failed"), result["msg"]
    found = Guarded(app)
    yield found
    found.stop(eventually)


def cap_above(app, megabytes):
    return max(memory(pid) for pid in app.pids().values()) + megabytes * MB


def leak(app, name, megabytes):
    """Through the private socket: this instance and no other."""
    from ansible_collections.pygun.stack.plugins.module_utils.instance import RunDirectory

    for _ in range(megabytes):
        assert RunDirectory(str(app.run)).ask(name, "/leak", 5).status == 200


class Watch(threading.Thread):
    """Sees whether there is a moment when not one instance is ready."""

    def __init__(self, app):
        super().__init__()
        self.app, self.least, self.ended = app, 99, threading.Event()

    def run(self):
        from ansible_collections.pygun.stack.plugins.module_utils.instance import RunDirectory

        run = RunDirectory(str(self.app.run))
        while not self.ended.is_set():
            ready = sum(1 for name, pid in self.app.pids().items() if pid and run.ready_workers(name, pid))
            self.least = min(self.least, ready)
            time.sleep(0.02)


def test_a_leak_is_ended_at_the_cap_and_no_request_is_lost(guarded, load, eventually):
    app = guarded.app
    before = app.pids()
    watch = Watch(app)
    watch.start()
    with load(app, "/leak") as requests:
        guarded.start(cap_above(app, 60))
        eventually(lambda: all(app.pids()[name] not in (0, pid) for name, pid in before.items()), 60)
        eventually(lambda: guarded.log().count("was restarted") >= 2, 20)
    watch.ended.set()
    watch.join()
    assert requests.failures == []
    assert requests.sent > 100
    assert watch.least >= 1
    assert "ready" in guarded.log()


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
    eventually(lambda: f"{app.name}-1 is not ready (STOPPED)" in guarded.log(), 15)
    assert app.pids()[f"{app.name}-0"] == pid
    app.host.status().start(f"{app.name}:{app.name}-1")
    eventually(lambda: app.pids()[f"{app.name}-0"] not in (0, pid), 20)


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
        eventually(lambda: "a deploy, restart or rollback runs" in guarded.log(), 15)
        assert app.pids() == pids
        stream.seek(0)
        stream.truncate()
    eventually(lambda: "was restarted" in guarded.log(), 20)
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
    eventually(lambda: guarded.log().count("raise the cap") == 2, 40)
    pids = app.pids()
    time.sleep(11)
    assert app.pids() == pids


def test_a_guard_that_is_killed_leaves_no_instance_stopped(guarded, eventually):
    app = guarded.app
    cap = cap_above(app, 20)
    leak(app, f"{app.name}-0", 60)
    guarded.start(cap)
    eventually(lambda: app.states()[f"{app.name}-0"] in ("STOPPING", "STOPPED"), 15)
    pid = app.host.status().process(f"{guarded.name}:{guarded.name}").pid
    os.kill(pid, 9)
    eventually(lambda: set(app.states().values()) == {"RUNNING"}, 20)
