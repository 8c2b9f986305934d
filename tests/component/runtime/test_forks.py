"""A child that an app forks has no socket of the server, ends when it is told to, and leaves the worker alone."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.component.runtime.test_signals import WORKERS
from tests.component.supervised import has_ended

APP = """
import concurrent.futures, multiprocessing, os, pty, subprocess, time

def sleep():
    time.sleep(600)

def process():
    child = multiprocessing.get_context("fork").Process(target=sleep)
    child.start()
    return child.pid

def fork():
    pid = os.fork()
    if not pid:
        sleep()
    return pid

def terminal():
    pid, _terminal = pty.fork()
    if not pid:
        sleep()
    return pid

def stubborn():
    import signal
    def ignore():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open(os.path.dirname(__file__) + "/ignores", "w").close()
        sleep()
    child = multiprocessing.get_context("fork").Process(target=ignore)
    child.start()
    while not os.path.exists(os.path.dirname(__file__) + "/ignores"):
        time.sleep(0.01)
    return child.pid

def busy_pool():
    executor = concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork"))
    executor.submit(sleep)
    return list(executor._processes)[0]

def returns():
    return os.fork()

def works():
    read, write = os.pipe()
    if not os.fork():
        said = subprocess.run(["echo", "from a program"], stdout=subprocess.PIPE).stdout
        time.sleep(0.1)
        os.write(write, said)
        os._exit(0)
    return os.read(read, 100).decode().strip()

def pool():
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as executor:
        return list(executor.map(abs, [-1, -2]))

def spawned():
    return os.posix_spawn("/bin/sleep", ["sleep", "600"], {})

def program():
    return subprocess.Popen(["sleep", "600"]).pid

def terminated():
    for _ in range(30):
        child = multiprocessing.get_context("fork").Process(target=sleep)
        child.start()
        child.terminate()
        child.join(10)
        if child.exitcode is None:
            return "it did not end"
    return "all ended"

def waited():
    time.sleep(2)
    with open(os.path.dirname(__file__) + "/served", "a") as file:
        file.write("served\\n")
    return os.getpid()

def app(environ, start_response):
    body = str(globals().get(environ["PATH_INFO"][1:], os.getpid)()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
PRELOADED = APP + "\nCHILD = process()\ndef at_import():\n    return CHILD\n"


def listeners(pid):
    """What a process has open of the sockets that listen here."""
    mine = set()
    for line in [
        *Path("/proc/net/tcp").read_text().splitlines(),
        *Path("/proc/net/unix").read_text(errors="replace").splitlines(),
    ]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == "0A":
            mine.add(f"socket:[{fields[9]}]")
        elif len(fields) > 6 and fields[3] == "00010000":  # __SO_ACCEPTCON
            mine.add(f"socket:[{fields[6]}]")
    return [link for link in sockets(pid) if link in mine]


def sockets(pid):
    found = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(fd))
        except FileNotFoundError:
            pass
    return [link for link in found if link.startswith("socket:")]


@pytest.fixture(name="children")
def children_fixture():
    """Pids to be killed at the end."""
    pids = []
    yield pids
    for pid in pids:
        if not has_ended(pid):
            os.kill(pid, signal.SIGKILL)


def each_way(*ways):
    """With the lossless worker each, and with the others the first: what a fork does is registered in the same way by all."""
    return [
        pytest.param(worker, *way, marks=[pytest.mark.full] * bool(worker != "lossless" and number))
        for worker in WORKERS
        for number, way in enumerate(ways)
    ]


@pytest.mark.parametrize(
    ("worker", "how"), each_way(("process",), ("fork",), ("terminal",), ("spawned",), ("program",))
)
def test_a_child_has_no_socket_of_the_server_and_ends_when_told_to(host, worker, how, children, eventually):
    instance = host.start(app=APP, **WORKERS[worker]).wait_ready()
    (pid,) = instance.workers()
    assert len(set(listeners(pid))) == 2
    child = int(host.get("/" + how)[2])
    children.append(child)
    time.sleep(0.3)
    assert sockets(child) == []
    for _ in range(10):
        assert host.get()[2] == str(pid)
    os.kill(child, signal.SIGTERM)
    eventually(lambda: has_ended(child), 5)
    assert instance.workers() == [pid]
    assert host.get(address=instance.private)[2] == str(pid)


@pytest.mark.parametrize("worker", ["lossless", "gthread"])
def test_a_child_that_is_forked_by_an_import_in_the_master_has_none_either(host, worker, children, eventually):
    instance = host.start(app=PRELOADED, preload_app=True, **WORKERS[worker]).wait_ready()
    child = int(host.get("/at_import")[2])
    children.append(child)
    assert sockets(child) == []
    assert instance.workers() == [int(host.get()[2])]
    os.kill(child, signal.SIGTERM)
    eventually(lambda: has_ended(child), 5)


GEVENT = pytest.param("gevent", marks=pytest.mark.full)  # the lossless worker is one


@pytest.mark.parametrize("worker", ["lossless", GEVENT, "gthread"])
def test_a_child_takes_no_part_in_requests_and_outlives_a_drain(host, worker, children):
    """With gevent it had the greenlets of all other requests, and their connections."""
    instance = host.start(app=APP, keepalive=30, **WORKERS[worker]).wait_ready()
    (pid,) = instance.workers()
    idle, slow = host.connect(), host.connect()
    assert idle.get("/")[2] == str(pid)
    slow.send("/waited")
    time.sleep(0.5)
    child = int(host.get("/fork")[2])
    children.append(child)
    assert slow.receive()[2] == str(pid)
    for _ in range(20):
        assert idle.get("/")[2] == str(pid)
    time.sleep(1.5)
    assert (instance.release / "src" / "served").read_text() == "served\n"
    assert not has_ended(child)
    instance.stop()
    assert not has_ended(child)
    assert instance.log().count("Worker exiting") <= 1
    for one in (idle, slow):
        assert one.file.read() == b""  # it is closed, although the child lives


@pytest.mark.parametrize(
    ("worker", "how"),
    [
        ("lossless", "process"),
        ("lossless", "stubborn"),
        ("lossless", "busy_pool"),
        ("gthread", "process"),
        ("sync", "stubborn"),
    ],
)
def test_a_child_of_multiprocessing_holds_no_stop_back(host, worker, how, children, eventually):
    """multiprocessing waits at the exit of its process for as long as its children take."""
    instance = host.start(app=APP, graceful_timeout=40, **WORKERS[worker]).wait_ready()
    child = int(host.get("/" + how)[2])
    children.append(child)
    assert instance.stop() < 20
    eventually(lambda: has_ended(child), 5)
    assert "SIGKILL" not in instance.log()


def test_a_worker_that_is_replaced_ends_its_own_children_alone(host, children, eventually):
    app = PRELOADED.replace("CHILD = process()", "CHILD = process(daemon=True)").replace(
        "def process()", "def process(**how)"
    )
    app = app.replace("Process(target=sleep)", "Process(target=sleep, **how)", 1)
    instance = host.start(app=app, preload_app=True, max_requests=2, **WORKERS["lossless"]).wait_ready()
    masters = int(host.get("/at_import")[2])
    children.append(masters)
    (worker,) = instance.workers()
    own = int(host.get("/process")[2])
    children.append(own)
    eventually(lambda: instance.workers() not in ([], [worker]), 30, instance.log)
    eventually(lambda: has_ended(own), 10)
    assert not has_ended(masters)
    assert "Traceback" not in instance.log()


@pytest.mark.parametrize(
    ("worker", "how", "says"),
    each_way(("pool", "[1, 2]"), ("works", "from a program"), ("terminated", "all ended")),
)
def test_what_children_are_for_works(host, worker, how, says):
    instance = host.start(app=APP, **WORKERS[worker]).wait_ready()
    (pid,) = instance.workers()
    assert host.get("/" + how)[::2] == (200, says)
    assert host.get()[2] == str(pid)
    assert instance.workers() == [pid]


@pytest.mark.parametrize("worker", ["lossless", GEVENT, "sync"])
def test_a_child_that_returns_from_its_view_answers_nobody_and_ends(host, worker, eventually):
    instance = host.start(app=APP, **WORKERS[worker]).wait_ready()
    child = int(host.get("/returns")[2])
    eventually(lambda: has_ended(child), 10, instance.log)
    assert int(host.get()[2]) in instance.workers()


def test_a_hook_of_the_app_may_fork_before_a_worker(host, children):
    own = """
    import os, time
    def pre_fork(server, worker):
        pid = os.fork()
        if not pid:
            time.sleep(600)
            os._exit(0)
        print("forked", pid)
    """
    instance = host.start(app=APP, own=own, workers=2).wait_ready(2)
    pids = [int(pid) for pid in re.findall(r"forked (\d+)", instance.log())]
    children += pids
    assert len(pids) == 2
    for pid in pids:
        assert sockets(pid) == []
    assert int(host.get()[2]) in instance.workers()
    for pid in instance.workers():
        assert len(set(listeners(pid))) == 2


KEEPS = """
import os, tempfile
folder = tempfile.TemporaryDirectory()

def app(environ, start_response):
    start_response("200 OK", [])
    return [f"{os.path.isdir(folder.name)} {folder.name}".encode()]
"""


def test_a_temporary_directory_of_an_import_in_the_master_outlives_workers_and_ends_with_it(host, eventually):
    instance = host.start(app=KEEPS, preload_app=True).wait_ready()
    (first,) = instance.workers()
    os.kill(first, signal.SIGTERM)
    eventually(lambda: instance.workers() not in ([], [first]), what=instance.log)
    found, name = host.get()[2].split()
    assert found == "True"
    instance.stop()
    assert not os.path.exists(name)
