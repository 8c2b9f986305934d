"""Dirty workers belong to the boot of an instance: real gunicorn, whose dirty apps are well, broken, late or gone."""

import json
import os
import signal

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.instance.run_directory import RunDirectory

WEB = """
from flask import Flask
from gunicorn.dirty import get_dirty_client

app = Flask(__name__)

@app.get("/")
@app.get("/healthz")
def predict():
    return get_dirty_client().execute("ml:Model", "predict")

@app.get("/slow")
def slow():
    return get_dirty_client().execute("ml:Model", "slow")

@app.get("/tls")
def tls():
    import ssl
    ssl.create_default_context().minimum_version = ssl.TLSVersion.TLSv1_2
    return "ok"
"""
MODEL = """
import os, ssl, sys, time
from pathlib import Path
from gunicorn.dirty import DirtyApp

class Context(ssl.SSLContext):
    minimum_version = property(lambda self: 0, lambda self, value: super(Context, Context).minimum_version.__set__(self, value))

class Model(DirtyApp):
    def init(self):
        {init}
        self.answer = "predicted"

    def __call__(self, action, *args, **kwargs):
        if action == "slow":
            open("asked", "w").close()
            time.sleep(1.5)
        return self.answer
"""
BROKEN = {
    "does not import": (
        "import nothing_of_that_name",
        "pass",
        "ModuleNotFoundError: No module named 'nothing_of_that_name'",
    ),
    "init fails": ("", "raise ValueError('no weights')", "ValueError: no weights"),
    "dies at once": ("", "os._exit(7)", "ml:Model: its process ended"),
    "dies as soon as it is up": (
        "",
        "import threading; threading.Timer(0.3, os._exit, [7]).start()",
        "its process ended",
    ),
    "takes too long": ("", "time.sleep(60)", "ml:Model: not ready within 6 s"),
}
SETTINGS = {"dirty_apps": ["ml:Model"], "dirty_workers": 2, "runtime": "boot_timeout=30, health_path='/healthz'"}


@pytest.fixture
def start(host):
    """Start an instance whose dirty app is this."""

    def begin(first="", init="pass", **options):
        settings = {name: value for name, value in {**SETTINGS, **options}.items() if value is not None}
        model = first + MODEL.replace("{init}", init)
        own = f"open(__file__.replace('pygun.py', 'src/ml.py'), 'w').write({model!r})"
        return host.start(app=WEB, own=own, **settings)

    return begin


@pytest.mark.parametrize("what", BROKEN)
def test_a_gated_instance_ends_whose_dirty_app(start, what):
    first, init, says = BROKEN[what]
    seconds = 6 if what == "takes too long" else 30
    instance = start(first, init, gate=True, runtime=f"boot_timeout={seconds}, health_path='/healthz'")
    assert instance.wait_exit() == 3, instance.log()
    line = next((line for line in instance.log().splitlines() if "refusing to serve" in line), instance.log())
    assert "the dirty workers are not up: " in line
    assert says in line
    assert not instance.ready()


def test_what_a_dirty_app_raised_is_in_the_log_with_its_traceback(start):
    instance = start(init="raise ValueError('no weights')", gate=True)
    instance.wait_exit()
    assert "ml.py" in instance.log()
    assert "in init" in instance.log()


def test_a_worker_is_ready_when_all_dirty_workers_are(start, host):
    """The health path asks the model: it found no dirty worker while they loaded."""
    instance = start(init="time.sleep(1)", gate=True).wait_ready()
    directory = RunDirectory(str(instance.run))
    assert instance.record()["dirty_workers"] == 2
    assert directory.dirty_arbiter("app-0", instance.pid) == {"wanted": 2, "up": 2, "begun": 1}
    assert host.get("/", instance.private)[2] == "predicted"
    instance.stop()
    assert not list(instance.run.glob("*.dirty"))


def test_an_instance_that_is_not_gated_serves_without_its_dirty_workers(start, host):
    instance = start(init="raise ValueError('no weights')").wait_ready()
    assert instance.ready()[0]["health"].startswith("failed: the dirty workers are not up: ml:Model: ValueError")
    assert host.get("/tls", instance.private)[0] == 200


def test_workers_that_come_later_are_well_when_the_dirty_workers_are(start, eventually):
    """What they need was down for the first: the instance would be called unhealthy for ever."""
    instance = start(init="os.path.exists('back') or os._exit(7)").wait_ready()
    assert instance.ready()[0]["health"].startswith("failed: the dirty workers are not up")
    (instance.release / "src" / "back").touch()
    directory = RunDirectory(str(instance.run))
    eventually(lambda: directory.dirty_arbiter("app-0", instance.pid)["up"] == 2, 20, what=instance.log)
    first = instance.workers()
    os.kill(first[0], signal.SIGTERM)
    eventually(lambda: {one["pid"] for one in instance.ready()} - set(first), 20, what=instance.log)
    assert next(one["health"] for one in instance.ready() if one["pid"] not in first) == "ok", instance.log()


def test_without_dirty_workers_nobody_waits_for_them(start):
    """gunicorn starts none, if their number is not set."""
    instance = start(gate=True, dirty_workers=None, runtime="boot_timeout=30, health_path='/tls'").wait_ready()
    assert instance.record()["dirty_workers"] == 0


def test_a_dirty_worker_that_is_killed_comes_back_and_one_that_fails_then_pauses(start, host, eventually):
    instance = start(init="os.path.exists('/proc/self/cwd/gone') and os._exit(7)", gate=True).wait_ready()
    places = lambda: sorted(instance.run.glob(f"app-0.{instance.pid}.*.dirty"))  # noqa: E731
    before = places()
    os.kill(int(before[0].name.split(".")[2]), signal.SIGKILL)
    eventually(lambda: len(places()) == 2 and places() != before, what=instance.log)
    (instance.release / "src" / "gone").touch()
    os.kill(int(places()[0].name.split(".")[2]), signal.SIGKILL)
    eventually(lambda: len(places()) == 1, what=instance.log)
    eventually(lambda: instance.log().count("Dirty worker exited") >= 4, what=instance.log)
    instance.log_path.write_bytes(b"")
    with pytest.raises(AssertionError):
        eventually(lambda: instance.log().count("Spawned dirty worker") > 3, 4)
    (instance.release / "src" / "gone").unlink()
    eventually(lambda: len(places()) == 2, what=instance.log)


def test_what_the_model_imports_is_not_imported_in_the_master(start, host):
    """gevent patches the workers only: a class made of ssl.SSLContext before failed at each use."""
    instance = start(gate=True).wait_ready()
    assert host.get("/tls", instance.private)[0] == 200
    assert "patch" not in instance.log(), instance.log()


def test_a_reload_finds_the_dirty_workers_that_are_up(start, eventually):
    instance = start(gate=True).wait_ready()
    before = instance.workers()
    instance.signal(signal.SIGHUP)
    eventually(lambda: instance.workers() and not set(instance.workers()) & set(before), 60, instance.log)
    assert instance.ready()[0]["health"] == "ok", instance.log()


def test_a_dirty_arbiter_that_is_killed_comes_back_and_that_is_known(start, eventually):
    instance = start(gate=True).wait_ready()
    directory = RunDirectory(str(instance.run))
    record = instance.run / f"app-0.{instance.pid}.dirty"
    orphans = [name.name.split(".")[2] for name in instance.run.glob(f"app-0.{instance.pid}.*.dirty")]
    assert len(orphans) == 2
    os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)
    eventually(
        lambda: directory.dirty_arbiter("app-0", instance.pid) == {"wanted": 2, "up": 2, "begun": 2}, what=instance.log
    )
    alive = [
        pid for pid in orphans if os.path.exists(f"/proc/{pid}/exe")
    ]  # an ended one that nobody has reaped has none
    assert not alive, "each would keep a model in memory"


def test_a_stop_loses_no_request_that_waits_for_a_dirty_worker(start, host, eventually):
    instance = start(gate=True).wait_ready()
    client = host.connect()
    client.send("/slow")
    eventually((instance.release / "src" / "asked").exists, what=instance.log)
    instance.signal(signal.SIGTERM)
    assert client.receive()[2] == "predicted"
    assert instance.wait_exit() == 0, instance.log()


def test_dirty_workers_have_the_accelerators_and_a_successor_has_the_one_of_its_predecessor(start, host, eventually):
    init = "self.seen = os.environ['CUDA_VISIBLE_DEVICES']; open(f'seen-{os.getpid()}', 'w').write(self.seen)"
    environ = {"PYGUN_INSTANCES": "2", "CUDA_VISIBLE_DEVICES": None}
    runtime = "boot_timeout=30, accelerators=[4, 5, 6, 7],"
    instance = start(init=init, gate=True, runtime=runtime, environ=environ)
    instance.wait_ready()
    directory = RunDirectory(str(instance.run))
    assert directory.accelerators("app-0", instance.pid) == ["4", "6"]
    seen = {path.read_text(): path for path in (instance.release / "src").glob("seen-*")}
    assert set(seen) == {"4", "6"}
    os.kill(int(seen["4"].name.partition("-")[2]), signal.SIGKILL)
    eventually(lambda: len(list((instance.release / "src").glob("seen-*"))) == 3, what=instance.log)
    eventually(lambda: directory.accelerators("app-0", instance.pid) == ["4", "6"], what=instance.log)
    assert instance.ready()[0]["accelerator"] is None
