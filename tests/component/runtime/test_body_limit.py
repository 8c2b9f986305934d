# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The body of a request has a time of its own, with each worker class; nothing else of the connection is limited by it."""

import contextlib
import threading
import time

import pytest

SECONDS = 1.5
WORKERS = {
    "lossless": {},
    "gthread": {"worker_class": "'gthread'", "threads": 8},
    "sync": {"worker_class": "'sync'"},
}


def dribble(client, piece, ended):
    """Send a piece of a body now and then, until nobody reads it any more."""
    try:
        while not ended.wait(0.2):
            client.socket.sendall(piece)
    except OSError:
        pass


def seconds_of(client, piece):
    """How long a request lasts whose body comes in pieces, and the status of its answer; 0 without an answer."""
    ended, begun = threading.Event(), time.monotonic()
    sender = threading.Thread(target=dribble, args=(client, piece, ended))
    sender.start()
    try:
        status = client.receive()[0]
        while client.socket.recv(4096):
            pass
    except ConnectionError:
        status = 0
    finally:
        ended.set()
        sender.join()
    return time.monotonic() - begun, status


BODIES = {
    "with a length": ("/upload", "Content-Length: 100000", b"x"),
    "in chunks": ("/upload", "Transfer-Encoding: chunked", b"1\r\nx\r\n"),
    "unread": ("/nowhere", "Content-Length: 100000", b"x"),  # a body that nobody reads
}
#: With the lossless worker each, and of the others' the telling ones; PYGUN_FULL=1 has all.
TELLING = {("gthread", "in chunks"), ("sync", "unread"), *(("lossless", body) for body in BODIES)}


@pytest.mark.parametrize(
    ("worker", "body"),
    [
        pytest.param(worker, body, marks=[pytest.mark.full] * ((worker, body) not in TELLING))
        for worker in WORKERS
        for body in BODIES
    ],
)
def test_a_body_that_comes_in_bytes_is_given_up(host, worker, body):
    path, header, piece = BODIES[body]
    instance = host.start(runtime=f"body_timeout={SECONDS}", keepalive=5, **WORKERS[worker]).wait_ready()
    client = host.connect()
    client.send(path, "POST", headers=[header, "Content-Type: text/plain"])
    lasted, status = seconds_of(client, piece)
    assert lasted < SECONDS + 3.5
    if path == "/upload":
        assert status in (0, 500)
        assert "flask_app_body_timeout" in instance.log()
    else:
        assert status == 404
    assert host.get("/")[0] == 200


@pytest.mark.parametrize("worker", [WORKERS["lossless"], WORKERS["gthread"]], ids=["lossless", "gthread"])
def test_what_is_in_time_and_what_is_no_body_is_not_limited(host, worker):
    host.start(runtime="body_timeout=1", keepalive=5, **worker).wait_ready()
    client = host.connect()
    for _ in range(2):
        client.send("/upload", "POST", body=b"x" * 3_000_000)
        assert client.receive()[2] == "3000000"
        time.sleep(1.5)  # a pause between two requests
    client.send("/wait/1.5")
    assert client.receive()[0] == 200


@pytest.mark.full
@pytest.mark.parametrize("limit", [0, 5])
def test_2100_slow_bodies_hold_the_service_for_the_limit_at_most(host, limit):
    """Two instances of one worker each take a thousand connections each: without a limit nobody else is served."""
    for number in range(2):
        host.start(name=f"app-{number}", runtime=f"body_timeout={limit}", worker_connections=1000).wait_ready()
    for _ in range(2100):
        client = host.connect()
        with contextlib.suppress(OSError):
            client.send("/upload", "POST", headers=["Content-Length: 100000", "Content-Type: text/plain"])
            client.socket.sendall(b"x")
    begun, client = time.monotonic(), host.connect()
    client.send("/")
    client.socket.settimeout(40)
    try:
        served = client.receive()[0] == 200
    except TimeoutError:
        served = False
    print(f"body_timeout={limit}: {'served' if served else 'not served'} after {time.monotonic() - begun:.1f} s")
    assert served == bool(limit)
