"""What a supervisord leaves behind is ended, in the control group of a unit: real gunicorn, and what apps fork."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "roles" / "supervisor" / "files" / "end_orphans.py"

FORKS = """
import os, signal, time
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/slow"):
        time.sleep(float(path[6:]))
    if path.startswith("/fork"):
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL if path == "/fork" else signal.SIG_IGN)
            if path == "/fork-daemon":
                os.setsid()
            if path != "/fork-with-sockets":
                os.closerange(0, 100)
            while True:
                signal.pause()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(child if path.startswith("/fork") else VERSION).encode()]
"""


class Unit:
    """A control group like that of supervisord.service."""

    def __init__(self, name):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _number, controllers, path = line.split(":", 2)
            root = {"": "/sys/fs/cgroup", "name=systemd": "/sys/fs/cgroup/systemd"}.get(controllers)
            self.folder = Path(f"{root}{path}") / name
            if root and (self.folder.parent / "cgroup.procs").exists():
                break
        try:
            self.folder.mkdir()
        except OSError as error:
            pytest.skip(f"needs a control group of its own: {error}")

    def take_in(self, pid=None):
        (self.folder / "cgroup.procs").write_text(str(pid or os.getpid()))

    def pids(self):
        return {int(pid) for pid in (self.folder / "cgroup.procs").read_text().split()}

    def end_orphans(self, host, result):
        """As systemd calls it; the seconds that it took, and what it said."""
        begun = time.monotonic()
        with (host.folder / "orphans").open("w+") as output:
            subprocess.run(
                [sys.executable, "-I", SCRIPT, host.folder / "conf.d"],
                env={"SERVICE_RESULT": result},
                preexec_fn=self.take_in,  # noqa: PLW1509
                stdout=output,
                stderr=output,
                check=True,
                timeout=30,
            )
            output.seek(0)
            return time.monotonic() - begun, output.read()

    def remove(self):
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        while self.pids():
            time.sleep(0.05)
        self.folder.rmdir()


@pytest.fixture
def unit():
    made = Unit(f"pygun-test-{os.getpid()}.service")
    yield made
    made.remove()


@pytest.fixture
def served(make_host, unit):
    """An app that serves, with its supervisord in the unit."""
    host = make_host()
    app = host.new_app(instances=1)
    result = app.deploy(app.release(source=FORKS, settings="timeout = 60"))
    assert not result.get("failed"), result["msg"]
    for pid in [host.process.pid, *_below(host.process.pid)]:
        unit.take_in(pid)
    yield app
    if host.process.poll() is not None:
        host.process = None
    shutil.rmtree(app.folder, ignore_errors=True)


@pytest.fixture
def served_by_two(make_host):
    host = make_host()
    app = host.new_app()
    result = app.deploy(app.release(source=FORKS, settings="timeout = 60"))
    assert not result.get("failed"), result["msg"]
    return app


def _parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])


def _below(pid):
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *_below(int(child))]
    return found


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _crash(host):
    os.kill(host.process.pid, signal.SIGKILL)
    host.process.wait()


def test_a_child_that_ignores_sigterm_does_not_outlive_a_stop(served, unit):
    """It inherits the environment of its gunicorn, and with it everything that is known by that."""
    child = int(served.get("/fork-deaf")[1])
    served.host.process.terminate()
    served.host.process.wait(30)
    assert _lives(child)
    seconds, said = unit.end_orphans(served.host, "success")
    assert not _lives(child)
    assert seconds < 4
    assert f"killing what did not end: {child} (" in said
    assert unit.pids() == set()


def test_after_a_crash_gunicorn_finishes_its_requests_and_nothing_else_does(served, unit):
    child = int(served.get("/fork")[1])
    answers = []
    slow = threading.Thread(target=lambda: answers.append(served.get("/slow/3")))
    slow.start()
    time.sleep(0.5)
    _crash(served.host)
    seconds, said = unit.end_orphans(served.host, "signal")
    assert seconds < 2, said  # the next supervisord is not kept waiting
    assert not _lives(child)
    assert len(unit.pids()) >= 3  # a master, its worker, and what looks after them
    again, said = unit.end_orphans(served.host, "success")  # the next supervisord was stopped as well
    assert again < 1, said
    slow.join()
    assert answers[0][0] == 200
    give_up = time.monotonic() + 8
    while unit.pids() and time.monotonic() < give_up:
        time.sleep(0.1)
    assert unit.pids() == set()


#: Finishes its task at the first SIGTERM, as RQ does, and gives it up at the second.
WORKER = """
import os, signal, sys, time
def finish(*_):
    signal.signal(signal.SIGTERM, lambda *_: os._exit(1))
    time.sleep(3)
    open({done!r}, "w").close()
    sys.exit()
signal.signal(signal.SIGTERM, finish)
if not os.fork():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("at work", flush=True)
while True:
    time.sleep(0.05)
"""


#: Has its task in a child with a process group of its own, as RQ does.
HORSE = """
import os, signal, sys, time
if not os.fork():
    os.setpgrp()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(1))
    while not os.path.exists({done!r} + ".asked"):
        time.sleep(0.05)
    time.sleep(3)
    open({done!r}, "w").close()
    os._exit(0)
def finish(*_):
    open({done!r} + ".asked", "w").close()
    os.wait()
    sys.exit()
signal.signal(signal.SIGTERM, finish)
while True:
    time.sleep(0.05)
"""


@pytest.mark.parametrize(("work", "singleton"), [(WORKER, False), (WORKER, True), (HORSE, False)])
def test_after_a_crash_a_worker_finishes_its_task_unless_it_is_a_singleton(served, unit, work, singleton):
    app, done = served, served.folder / "done"
    release = app.release(source=FORKS)
    (app.root / "shared").mkdir()
    (app.root / "releases" / release / "src" / "work.py").write_text(work.format(done=str(done)))
    worker = {"name": "worker", "command": "python work.py", "stopwaitsecs": 6, "singleton": singleton}
    result = app.deploy(release, programs=app.programs(worker))
    assert not result.get("failed"), result["msg"]
    for pid in _below(app.host.process.pid):
        unit.take_in(pid)
    _crash(app.host)
    seconds, said = unit.end_orphans(app.host, "signal")
    if singleton:
        assert not done.exists(), said  # its successor starts now
        return
    assert seconds < 2, said  # the next supervisord is not kept waiting
    give_up = time.monotonic() + 12
    while unit.pids() and time.monotonic() < give_up:
        time.sleep(0.1)
    assert unit.pids() == set()
    assert done.exists(), said


def test_a_gunicorn_that_does_not_finish_is_killed_when_its_time_is_over(served, unit):
    served.conf.write_text(served.conf_content().replace("stopwaitsecs=8", "stopwaitsecs=1"))
    slow = threading.Thread(target=lambda: pytest.raises(OSError, served.get, "/slow/60"))
    slow.start()
    time.sleep(0.5)
    _crash(served.host)
    seconds, _said = unit.end_orphans(served.host, "signal")
    assert seconds < 2
    begun = time.monotonic()
    while unit.pids():
        assert time.monotonic() - begun < 3
        time.sleep(0.1)
    slow.join()


def test_what_only_says_that_it_is_a_gunicorn_gets_no_more_than_its_time(served, unit):
    """An app may write what it likes into its record."""
    served.conf.write_text(served.conf_content().replace("stopwaitsecs=8", "stopwaitsecs=1"))
    child = int(served.get("/fork-deaf")[1])
    _crash(served.host)
    (served.run / f"{served.name}-0.json").write_text(f'{{"pid": {child}}}')
    unit.end_orphans(served.host, "success")
    begun = time.monotonic()
    while unit.pids():
        assert time.monotonic() - begun < 3
        time.sleep(0.1)


@pytest.mark.parametrize(
    "record", ["[" * 60000, "{}", "[]", '{"pid": {}}', '{"pid": 1e999}', '{"pid": true}', "", "9" * 65536]
)
def test_a_record_that_is_none_names_nobody(tmp_path, record):
    spec = importlib.util.spec_from_file_location("end_orphans", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    path = tmp_path / "app-0.json"
    path.write_text(record)
    assert script.recorded(path) == (0, 0)
    path.unlink()
    os.mkfifo(path)
    assert script.recorded(path) == (0, 0)
    path.unlink()
    (tmp_path / "real").write_text('{"pid": 5}')
    path.symlink_to(tmp_path / "real")
    assert script.recorded(path) == (0, 0)
    assert script.recorded(tmp_path / "real") == (5, os.getuid())


# -- while supervisord runs: what an instance leaves behind --


def test_what_an_instance_forked_ends_with_it_and_with_no_other(served_by_two):
    app = served_by_two
    children = {}
    while len(children) < 2:  # of each instance one
        child = int(app.get("/fork-daemon")[1])
        children.setdefault(_parent(_parent(child)), child)
    victim = f"{app.name}-0"
    mine = children.pop(app.pids()[victim])
    result = app.control("restarted", instance=victim)
    assert not result.get("failed"), result["msg"]
    assert not _lives(mine)
    assert f"pid {mine} (" in str(result["warnings"])
    assert all(map(_lives, children.values()))
    forced = app.control("restarted", force=True)
    assert not forced.get("failed"), forced["msg"]
    assert not any(map(_lives, children.values()))


def test_a_child_that_keeps_the_socket_is_gone_before_the_socket_is_opened_again(served_by_two):
    app = served_by_two
    child = int(app.get("/fork-with-sockets")[1])
    app.conf_extra = "priority=5\n"
    result = app.deploy(app.release(source=FORKS))
    assert not result.get("failed"), result["msg"]
    assert not _lives(child)
    assert app.get("/")[0] == 200
    child = int(app.get("/fork-daemon")[1])
    assert not app.control("stopped").get("failed")
    assert not _lives(child)


def test_daemons_of_the_apps_user_go_when_nothing_can_need_them(served, unit):
    """They have left their parents and sessions. In the unit's control group they are still the app's."""
    from ansible_collections.pygun.stack.plugins.module_utils.instance.leftovers import Leftovers

    def daemon(where):
        command = ["setpriv", "--reuid=65534", "--clear-groups", "sleep", "1000"]
        return subprocess.Popen(command, preexec_fn=where, start_new_session=True)  # noqa: PLW1509

    (served.conf.parent / "other.conf").write_text(
        "[program:other]\ncommand=sleep 1000\nuser=nobody\nstartsecs=0\nstopsignal=KILL\n"
    )
    supervisor = served.host.status()
    older, elsewhere = daemon(unit.take_in), daemon(None)
    time.sleep(0.1)
    supervisor.reload_config()
    supervisor.add_group("other")
    supervisor.call("supervisor.stopProcessGroup", "other")
    supervisor.start("other:other")
    younger = daemon(unit.take_in)
    time.sleep(0.2)
    try:
        assert Leftovers(supervisor, [], 65534).end() == [f"pid {older.pid} (sleep)"]
        assert older.wait(5) == -signal.SIGTERM
        assert younger.poll() is None  # it may come from the program that runs
        supervisor.call("supervisor.stopProcessGroup", "other")
        assert Leftovers(supervisor, [], 65534).end() == [f"pid {younger.pid} (sleep)"]
        assert Leftovers(supervisor, [], 0).end() == []
        assert elsewhere.poll() is None
    finally:
        for process in (older, younger, elsewhere):
            process.kill()
            process.wait()


def test_a_check_ends_nothing_of_what_a_deploy_would_end(served, unit):
    """What an app has left behind has the address on which it is to be installed again."""
    app = served.host.new_app(instances=1)
    app.conf_extra = "user=nobody\n"
    held = (
        f"import socket, time; s = socket.create_server(('127.0.0.1', {app.port})); print(flush=True); time.sleep(1000)"
    )
    command = ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-c", held]
    with subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=unit.take_in, start_new_session=True) as daemon:  # noqa: PLW1509
        try:
            daemon.stdout.readline()
            result = app.deploy("a" * 16, check=True)
            assert not result.get("failed"), result["msg"]
            assert daemon.poll() is None
            assert "cannot listen" not in app.deploy(app.release())["msg"]
            assert daemon.wait(5) == -signal.SIGTERM
        finally:
            daemon.kill()


def test_a_stranger_that_has_got_the_pid_of_an_instance_is_spared(served):
    from ansible_collections.pygun.stack.plugins.module_utils.instance.leftovers import Leftovers

    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as stranger:
        try:
            left = Leftovers(served.host.status(), [stranger.pid], None)
            left.known = {(pid, started - 1) for pid, started in left.known}  # as if this had been the pid of another
            assert left.end() == []
            assert stranger.poll() is None
        finally:
            stranger.kill()
