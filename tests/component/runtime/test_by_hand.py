"""`gunicorn -c pygun.py wsgi:app`, as in every tutorial; and the worker classes of gunicorn."""

import contextlib
import os
import signal
import socket
import sys

import pytest

from tests.component.supervised import has_ended


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.mark.parametrize("worker_class", ["runtime.worker_class", "'sync'", "'gthread'"])
def test_it_binds_its_own_address(host, eventually, worker_class):
    port = free_port()
    release = host.release(runtime=f"bind='127.0.0.1:{port}', run_dir='/run/app'", worker_class=worker_class)
    instance = host.start(
        listener=False,
        arguments=[sys.executable, "-m", "gunicorn", "-c", str(release / "pygun.py"), "wsgi:app"],
        environ={"SUPERVISOR_PROCESS_NAME": None, "PYGUN_RUN_DIR": None},
    )
    eventually(lambda: "Booting worker" in instance.log(), what=instance.log)
    assert host.get(address=("127.0.0.1", port))[0] == 200
    instance.stop()
    assert "Traceback" not in instance.log()


@pytest.mark.parametrize("worker_class", ["runtime.worker_class", "'sync'"])
def test_it_serves_as_a_daemon(host, eventually, worker_class):
    """The master forks while its boot is bounded: the watchdog stays behind."""
    port, pid_file = free_port(), host.folder / "daemon.pid"
    release = host.release(runtime=f"bind='127.0.0.1:{port}'", worker_class=worker_class)
    command = [sys.executable, "-m", "gunicorn", "-c", str(release / "pygun.py"), "--pid", str(pid_file), "--daemon"]
    parent = host.start(listener=False, arguments=[*command, "wsgi:app"], environ={"SUPERVISOR_PROCESS_NAME": None})
    assert parent.wait_exit() == 0

    def answers():
        with contextlib.suppress(OSError):
            return host.get(address=("127.0.0.1", port))[0] == 200

    try:
        eventually(answers, 20)
    finally:
        if pid_file.exists():  # written once it is the daemon's
            master = int(pid_file.read_text())
            os.kill(master, signal.SIGTERM)
            eventually(lambda: has_ended(master), 20)


def test_a_unix_socket_that_it_bound_itself_is_removed(host, eventually):
    path = host.folder / "own.sock"
    instance = host.start(listener=False, runtime=f"bind='unix:{path}'", environ={"SUPERVISOR_PROCESS_NAME": None})

    def answers():
        try:
            return host.get(address=str(path))[0] == 200
        except OSError:  # not there, or bound and not yet listening
            return False

    eventually(answers, what=instance.log)
    instance.stop()
    assert not path.exists()


def test_check_config_imports_the_app_and_touches_nothing(host, eventually):
    instance = host.start().wait_ready()
    eventually(lambda: list(instance.run.glob("app-0.*.requests")))  # comes after .ready
    before = sorted(instance.run.iterdir())
    check = host.start(
        listener=False,
        arguments=[sys.executable, "-m", "gunicorn", "--check-config", "-c", str(instance.release / "pygun.py")],
        environ={"SUPERVISOR_PROCESS_NAME": None},
    )
    assert check.wait_exit() == 0
    assert sorted(instance.run.iterdir()) == before
    assert host.get(address=instance.private)[0] == 200


def test_check_config_is_bounded(host):
    release = host.release("import time\ntime.sleep(60)\n", runtime="boot_timeout=1")
    check = host.start(
        listener=False,
        arguments=[sys.executable, "-m", "gunicorn", "--check-config", "-c", str(release / "pygun.py")],
        environ={"SUPERVISOR_PROCESS_NAME": None},
    )
    assert check.wait_exit() == 3


@pytest.mark.parametrize(
    ("worker_class", "settings"), [("'sync'", {}), ("'gthread'", {"threads": 4})], ids=["sync", "gthread"]
)
def test_gunicorns_own_workers_are_handed_over_gated_and_recorded(host, eventually, worker_class, settings):
    instance = host.start(
        worker_class=worker_class, workers=2, gate=True, runtime="health_path='/healthz'", **settings
    ).wait_ready(2)
    assert (instance.record()["worker_class"], instance.record()["lossless"]) == (worker_class.strip("'"), False)
    assert int(host.get()[2]) in instance.workers()
    assert int(host.get(address=instance.private)[2]) in instance.workers()
    old = instance.workers()
    instance.signal(signal.SIGHUP)
    eventually(lambda: len(instance.ready()) == 2 and set(old).isdisjoint(instance.workers()), 20, instance.log)
    assert int(host.get()[2]) in instance.workers()
    instance.stop()
    assert list(instance.run.iterdir()) == []


@pytest.mark.parametrize(
    "line, said",
    [
        ("logfile = '/var/log/x.log'", "gunicorn ignores the setting logfile"),
        ("Workers = 4", "gunicorn ignores the setting Workers: settings are written in lower case (workers)"),
        ("wokers = 4", "is workers meant?"),
    ],
)
def test_a_setting_that_gunicorn_passes_over_is_a_warning_in_the_log(host, line, said):
    instance = host.start(own=line).wait_ready()
    warned = [text for text in instance.log().splitlines() if "warning" in text.lower() and said in text]
    assert len(warned) == 1, instance.log()


def test_no_setting_of_the_role_itself_is_one_that_gunicorn_passes_over(host):
    assert "gunicorn ignores" not in host.start().wait_ready().log()


DIRTY = """
from flask import Flask
from gunicorn.dirty import DirtyApp, get_dirty_client

app = Flask(__name__)

class Model(DirtyApp):
    def init(self):
        pass

    def __call__(self, action, *args, **kwargs):
        return "predicted"

    def close(self):
        pass

@app.get("/")
def predict():
    return get_dirty_client().execute("wsgi:Model", "predict")
"""


def test_each_instance_has_a_dirty_arbiter_of_its_own(host, eventually):
    """gunicorn ends whatever it finds under the name of one: the second instance took the first one's models away."""
    dirty = {"dirty_apps": ["wsgi:Model"], "dirty_workers": 1}
    first, second = (host.start(app=DIRTY, name=f"app-{number}", **dirty).wait_ready() for number in (0, 1))
    for instance in (first, second):
        eventually(lambda instance=instance: host.get("/", instance.private)[0] == 200, what=instance.log)
        assert "orphan" not in first.log() + second.log()
