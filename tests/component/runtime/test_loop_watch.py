"""A worker says which call blocked its event loop, and what did not is not blamed."""

import os
import signal
import time
import types

import pytest

from pygun_runtime.loop_watch import PAUSE, LoopWatch

APP = """
import ctypes, time
native = ctypes.CDLL(None)
keeps_the_lock = ctypes.PyDLL(None)

def compute(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass

def block(how):
    {
        "native": lambda: native.sleep(2),
        "locked": lambda: keeps_the_lock.sleep(2),
        "python": lambda: compute(2.0),
        "waits": lambda: time.sleep(2),
    }[how]()

def app(environ, start_response):
    if environ["PATH_INFO"] != "/":
        block(environ["PATH_INFO"].strip("/"))
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""


def blocked(instance):
    return instance.log().count("Event loop blocked for")


@pytest.mark.parametrize("worker_class", ["runtime.worker_class", "'gevent'"])
def test_a_call_that_blocks_is_named_with_its_request_and_stack(host, eventually, worker_class):
    instance = host.start(app=APP, worker_class=worker_class).wait_ready()
    host.get("/native?secret=1")
    eventually(lambda: blocked(instance) == 1, what=instance.log)
    line = instance.log()
    assert "s by GET /native, nobody else was served. It was at:" in line
    assert "wsgi.py" in line and "native.sleep(2)" in line and "ggevent.py" not in line
    assert "secret" not in line


def test_an_app_that_blocks_all_the_time_has_a_line_now_and_then(monkeypatch):
    said = []
    watch = LoopWatch.__new__(LoopWatch)
    watch._log = types.SimpleNamespace(warning=lambda text, *values, extra: said.append(text % values))
    watch._said_at, watch._unsaid = -PAUSE, 0
    for now in (0.0, 1.0, PAUSE - 1, PAUSE + 1):
        monkeypatch.setattr(time, "monotonic", lambda now=now: now)
        watch._say(1.5, "GET /slow", [("wsgi.py", 3, "slow", "sleep()")])
    assert len(said) == 2
    assert said[0].startswith("Event loop blocked for 1.5 s by GET /slow, nobody else was served. It was at:\n  File")
    assert "2 more such calls since" in said[1]


@pytest.mark.parametrize("how", ["locked", "python"])
def test_every_kind_of_call_is_seen(host, eventually, how):
    instance = host.start(app=APP).wait_ready()
    host.get(f"/{how}")
    eventually(lambda: blocked(instance) == 1, what=instance.log)
    assert "in block" in instance.log()


def test_who_waits_and_who_is_stopped_does_not_block(host):
    instance = host.start(app=APP).wait_ready()
    (worker,) = instance.workers()
    host.get("/waits")
    os.kill(worker, signal.SIGSTOP)
    time.sleep(2)  # the process is stopped for this long
    os.kill(worker, signal.SIGCONT)
    host.get("/")
    instance.stop()
    assert blocked(instance) == 0, instance.log()
