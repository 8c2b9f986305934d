"""A stop waits for requests, whatever signal handlers an app has; and the app's are called too, once."""

import os
import signal
import sys
import time

import pytest

from tests.component.runtime.test_worker import answered

APP = """
import faulthandler, os, signal, subprocess, sys, time
HERE = os.path.dirname(__file__)

def note(*_signal):
    with open(HERE + "/called", "a") as file:
        file.write(f"{os.getpid()}\\n")
    sys.exit(0)

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        time.sleep(2)
    elif path == "/late":
        late()
    elif path == "/run":
        assert subprocess.run(["true"]).returncode == 0
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

def late():
    pass
"""
SETS = "signal.signal(signal.SIGTERM, note)\n"
WAYS = {
    "signal.signal": SETS,
    "gevent.signal_handler": "import gevent\ngevent.signal_handler(signal.SIGTERM, note)\n",
    "ignored": "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n",
    "default": "signal.signal(signal.SIGTERM, signal.SIG_DFL)\n",
    "asyncio": "import asyncio\nloop = asyncio.new_event_loop()\nloop.add_signal_handler(signal.SIGTERM, note)\n",
    "the one before": "before = signal.getsignal(signal.SIGTERM)\n"
    "def chained(*received):\n    callable(before) and before(*received)\n    note()\nsignal.signal(signal.SIGTERM, chained)\n",
    "an exception": "def fails(*_):\n    open(HERE + '/called', 'a').write('x\\n')\n    raise KeyError('cleanup')\n"
    "signal.signal(signal.SIGTERM, fails)\n",
}
#: With PYGUN_FULL=1 only: one that is ignored is put back in the same way.
RARE = {"default"}
CALLS = {"signal.signal", "gevent.signal_handler", "the one before", "an exception"}
LOSSLESS = {"worker_class": "runtime.worker_class"}
WORKERS = {
    "lossless": LOSSLESS,
    "gevent": {"worker_class": "'gevent'"},
    "gthread": {"worker_class": "'gthread'", "threads": 12},
    "sync": {"worker_class": "'sync'"},
}


def calls(instance):
    path = instance.release / "src" / "called"
    return path.read_text().splitlines() if path.exists() else []


def stop_with_requests_in_flight(host, instance, worker="lossless"):
    count = 1 if worker == "sync" else 8
    clients = [host.connect() for _ in range(count)]
    for (
        client
    ) in clients:  # a gthread worker of gunicorn 27 that has closed connections itself needs the whole graceful_timeout
        client.send("/slow", headers=["Connection: close"] if worker != "gthread" else [])
    time.sleep(0.7)
    assert calls(instance) == []
    instance.signal(signal.SIGTERM)
    assert answered(clients) == count, instance.log()
    assert instance.wait_exit() == 0
    assert "SIGKILL" not in instance.log()


@pytest.mark.parametrize("worker", ["lossless", pytest.param("gevent", marks=pytest.mark.full), "gthread", "sync"])
def test_requests_in_flight_are_answered_although_the_app_exits_at_sigterm(host, worker):
    instance = host.start(app=APP + SETS, **WORKERS[worker]).wait_ready()
    (pid,) = instance.workers()
    stop_with_requests_in_flight(host, instance, worker)
    assert calls(instance) == [str(pid)]
    assert instance.log().count("The app handles SIGTERM itself") == 1
    assert "wsgi.py:5)" in instance.log()


def test_signals_that_were_ignored_before_it_started_are_nothing_that_the_app_has_set(host):
    """A shell starts what it runs in the background so, and nohup."""
    release = host.release(app=APP, **LOSSLESS)
    command = [sys.executable, "-m", "gunicorn", "-c", str(release / "pygun.py")]
    instance = host.start(arguments=["sh", "-c", "trap '' INT QUIT; exec \"$@\"", "sh", *command]).wait_ready()
    instance.stop()
    assert "The app has set" not in instance.log()


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=[pytest.mark.full] * (way in RARE)) for way in WAYS if way != "signal.signal"]
)
def test_it_does_not_matter_how_the_app_sets_its_handler(host, way):
    instance = host.start(app=APP + WAYS[way], **LOSSLESS).wait_ready()
    stop_with_requests_in_flight(host, instance)
    assert len(calls(instance)) == (way in CALLS)
    assert instance.log().count("gunicorn's handler is put back") == 1
    assert ("The app's handler of SIGTERM failed" in instance.log()) == (way == "an exception")


@pytest.mark.parametrize("worker", ["lossless", "gthread"])
def test_nor_when_it_is_set_in_the_master(host, worker, eventually):
    instance = host.start(app=APP + SETS, preload_app=True, workers=2, **WORKERS[worker]).wait_ready(2)
    old = instance.workers()
    instance.signal(signal.SIGHUP)  # imports again, in a master that has its handlers already
    eventually(lambda: len(instance.workers()) == 2 and set(old).isdisjoint(instance.workers()), what=instance.log)
    eventually(lambda: len(calls(instance)) == 2, what=instance.log)  # the workers that were replaced
    (instance.release / "src" / "called").unlink()
    pids = instance.workers()
    stop_with_requests_in_flight(host, instance, worker)
    assert sorted(calls(instance)) == sorted(map(str, pids))


HOOK = """
def {hook}(*arguments):
    import signal, sys
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
"""
HOOKS = {"post_fork": "server, worker", "post_worker_init": "worker", "when_ready": "server", "on_starting": "server"}


@pytest.mark.parametrize(
    "hook",
    [pytest.param(hook, marks=[pytest.mark.full] * (hook in ("post_fork", "on_starting"))) for hook in HOOKS],
)
def test_nor_in_which_hook(host, hook):
    own = HOOK.format(hook=hook).replace("*arguments", HOOKS[hook])
    stop_with_requests_in_flight(host, host.start(app=APP, own=own, **LOSSLESS).wait_ready())


def test_nor_that_a_request_sets_it(host):
    instance = host.start(app=APP.replace("def late():\n    pass", "def late():\n    " + SETS), **LOSSLESS).wait_ready()
    host.get("/late")
    time.sleep(1.5)  # until the next heartbeat
    stop_with_requests_in_flight(host, instance)
    assert len(calls(instance)) == 1


def test_a_greenlet_of_the_app_that_exits_costs_no_request(host, eventually):
    late = "def late():\n    import gevent\n    gevent.spawn(sys.exit)"
    instance = host.start(app=APP.replace("def late():\n    pass", late), **LOSSLESS).wait_ready()
    clients = [host.connect() for _ in range(5)]
    for client in clients:
        client.send("/slow")
    time.sleep(0.7)
    host.get("/late")
    assert answered(clients) == 5, instance.log()
    assert "draining" in instance.log()


@pytest.mark.parametrize("worker", ["lossless", "gthread"])
def test_other_signals_reach_gunicorn_and_the_app(host, worker, eventually):
    """SIGUSR1 is gunicorn's too; SIGHUP is nobody's but the app's; SIGCHLD is needed by subprocesses."""
    sets = "signal.signal(signal.SIGUSR1, lambda *_: open(HERE + '/called', 'a').write('usr1\\n'))\n"
    sets += "signal.signal(signal.SIGHUP, lambda *_: open(HERE + '/called', 'a').write('hup\\n'))\n"
    sets += "signal.signal(signal.SIGCHLD, lambda *_: None)\nfaulthandler.enable()\n"
    instance = host.start(app=APP + sets, **WORKERS[worker]).wait_ready()
    (pid,) = instance.workers()
    for number, said in ((signal.SIGUSR1, ["usr1"]), (signal.SIGHUP, ["usr1", "hup"])):
        os.kill(pid, number)
        eventually(lambda said=said: calls(instance) == said, what=instance.log)
    for _ in range(3):
        assert host.get("/run")[0] == 200
    assert instance.workers() == [pid]


def test_the_worker_timeout_names_the_request_although_the_app_enables_faulthandler(host, eventually):
    late = "def late():\n    while True: pass"
    app = APP.replace("def late():\n    pass", late) + "faulthandler.enable()\n"
    instance = host.start(app=app, timeout=2, **LOSSLESS).wait_ready()
    host.connect().send("/late")
    eventually(lambda: "Worker timeout, cut off: GET /late" in instance.log(), 20, instance.log)


def test_the_apps_handler_of_alarms_outlives_the_boot(host, eventually):
    sets = "signal.signal(signal.SIGALRM, lambda *_: open(HERE + '/called', 'a').write('alarm\\n'))\n"
    instance = host.start(app=APP + sets, **LOSSLESS).wait_ready()
    os.kill(instance.workers()[0], signal.SIGALRM)
    eventually(lambda: calls(instance) == ["alarm"], 15, instance.log)
