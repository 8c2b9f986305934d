"""A worker whose stop waits for threads of the app says so, and names them."""

import pytest

from tests.component.runtime.test_signals import WORKERS

APP = """
import concurrent.futures, threading, time

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

def push(seconds):
    time.sleep(seconds)

class Poller(threading.Thread):
    def run(self):
        push(600)
"""
HOLDING = """
threading.Thread(target=push, args=(600,), name="pusher").start()
Poller(name="poller").start()
"""
HARMLESS = """
threading.Thread(target=push, args=(600,), name="background", daemon=True).start()
executor = concurrent.futures.ThreadPoolExecutor(1)
executor.submit(push, 0).result()
"""


@pytest.mark.parametrize("worker", WORKERS)
def test_threads_that_hold_a_stop_are_named(host, worker):
    instance = host.start(app=APP + HOLDING, graceful_timeout=4, **WORKERS[worker]).wait_ready()
    assert instance.stop() >= 3
    (line,) = [line for line in instance.log().splitlines() if "threads that are not daemons" in line]
    assert "for 1." in line or "for 2." in line or "for 3." in line, line
    assert "src/wsgi.py:8)" in line and "src/wsgi.py:12)" in line, line
    assert "pusher (" in line and "poller (" in line and "graceful_timeout (4 s)" in line, line


@pytest.mark.parametrize("worker", ["lossless", "gthread"])
def test_a_stop_that_waits_for_no_thread_says_nothing(host, worker):
    instance = host.start(app=APP + HARMLESS, **WORKERS[worker]).wait_ready()
    assert host.get("/")[0] == 200
    instance.stop()
    assert "not daemons" not in instance.log()
