"""What gunicorn's own gevent worker loses, the lossless worker keeps: each scenario runs against both."""

import contextlib
import http.client
import os
import re
import selectors
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from tests.component.runtime.conftest import APP
from tests.component.supervised import has_ended

STOCK = {"worker_class": "'gevent'"}
LOSSLESS = {"worker_class": "runtime.worker_class"}


def answered(clients):
    """How many of *clients* get an answer of 200."""
    count = 0
    for client in clients:
        try:
            count += client.receive()[0] == 200
        except OSError:
            pass
    return count


# ---- mend 1: accepted, but not yet begun


# Mend 4 makes the case rare: here the worker accepts as many at a time as gunicorn's own.
ACCEPTS_MANY = {
    "own": """
    import pygun_runtime.worker
    pygun_runtime.worker._Server.max_accept = 100
    """,
    **LOSSLESS,
}


def stop_while_connections_arrive(host, worker):
    """100 short computations arrive while the only worker computes; it is told to stop meanwhile."""
    instance = host.start(**worker).wait_ready()
    (pid,) = instance.workers()
    host.connect(instance.private).send("/busy/0.5")
    time.sleep(0.2)  # the worker computes now
    late = [host.connect() for _ in range(100)]
    for client in late:
        client.send("/busy/0.02")
    time.sleep(0.8)  # it has accepted many, and begun with some
    os.kill(pid, signal.SIGTERM)  # the master starts another worker: whoever still waits in the backlog is served
    return answered(late)


def test_gunicorn_loses_connections_that_it_accepted_just_before_a_stop(host):
    assert stop_while_connections_arrive(host, STOCK) < 100


@pytest.mark.parametrize("worker", [LOSSLESS, ACCEPTS_MANY], ids=["lossless", "accepting many"])
def test_connections_accepted_just_before_a_stop_are_answered(host, worker):
    assert stop_while_connections_arrive(host, worker) == 100


# ---- mend 2: the master dies


def kill_the_master_during_a_request(host, worker):
    instance = host.start(**worker).wait_ready()
    clients = [host.connect() for _ in range(5)]
    for client in clients:
        client.send("/wait/5.0")
    time.sleep(1)
    os.kill(instance.pid, signal.SIGKILL)
    return answered(clients)


def test_gunicorn_loses_requests_in_flight_when_its_master_dies(host):
    assert kill_the_master_during_a_request(host, STOCK) == 0


def test_requests_in_flight_are_answered_after_their_master_died(host):
    assert kill_the_master_during_a_request(host, LOSSLESS) == 5


def test_a_worker_without_a_master_takes_no_new_connections_and_ends(host, eventually):
    instance = host.start().wait_ready()
    (worker,) = instance.workers()
    os.kill(instance.pid, signal.SIGKILL)
    eventually(lambda: has_ended(worker))
    assert "The master is gone, draining" in instance.log()


# ---- mend 3: idle keep-alive connections


def stop_with_an_idle_connection(host, worker):
    instance = host.start(keepalive=8, **worker).wait_ready()
    client = host.connect()
    client.get("/")
    return instance.stop()


def test_gunicorn_waits_for_idle_connections_when_it_stops(host):
    assert stop_with_an_idle_connection(host, STOCK) > 6


def test_idle_connections_hold_a_stop_back_for_a_short_linger_only(host):
    assert 1.5 < stop_with_an_idle_connection(host, LOSSLESS) < 6


def test_a_connection_that_never_asked_holds_a_stop_back_for_keepalive_only(host):
    instance = host.start(keepalive=1).wait_ready()
    host.connect()
    time.sleep(0.2)  # it is accepted
    assert instance.stop() < 8  # of 10


def test_a_request_in_the_linger_is_answered_and_told_to_go_elsewhere(host):
    instance = host.start().wait_ready()
    client = host.connect()
    assert "connection" not in client.get("/")[1] or client.get("/")[1]["connection"] == "keep-alive"
    instance.signal(signal.SIGTERM)
    while (answer := client.get("/"))[1].get("connection") != "close":
        time.sleep(0.05)
    assert answer[0] == 200
    with pytest.raises(ConnectionError):
        client.get("/")


def test_without_connections_a_stop_takes_no_time(host):
    assert min(host.start().wait_ready().stop() for _ in range(3)) < 1.8  # the linger is 2


def test_a_request_that_has_begun_to_arrive_is_not_taken_for_idle(host):
    instance = host.start(keepalive=8).wait_ready()
    client = host.connect()
    client.get("/")
    client.socket.sendall(b"GET / HTTP/1.1\r\nHost: loc")
    time.sleep(0.3)
    instance.signal(signal.SIGTERM)
    time.sleep(4)
    client.socket.sendall(b"alhost\r\n\r\n")
    assert client.receive()[0] == 200


def test_requests_that_race_with_the_end_of_the_linger_are_answered_or_closed_cleanly(host):
    """Each connection sends at its own moment around the end of the linger; none may be cut in an answer."""
    instance = host.start(keepalive=8).wait_ready()
    clients = [host.connect() for _ in range(80)]
    for client in clients:
        client.get("/")
    start = time.monotonic()
    instance.signal(signal.SIGTERM)
    outcomes = Counter()
    sent = []
    for number, client in enumerate(clients):
        time.sleep(max(0.0, start + 1.2 + number * 0.015 - time.monotonic()))
        try:
            client.send("/")
            sent.append(client)
        except OSError:
            outcomes["closed"] += 1
    for client in sent:
        try:
            outcomes[client.receive()[0]] += 1
        except ConnectionError as error:
            assert "cut off" not in str(error)
            outcomes["closed"] += 1
    assert set(outcomes) <= {200, "closed"}
    assert outcomes[200] >= 30  # those before the end of the linger, all of them


# ---- mend 4: one connection at a time


def two_workers(host, worker):
    """Of two instances."""
    return [host.start(name=f"app-{number}", **worker).wait_ready().workers()[0] for number in (0, 1)]


def burst_while_both_are_away(host, workers):
    """The smaller of two workers' shares in 40 short computations, which wait as one comes back, and then the other."""
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    clients = [host.connect() for _ in range(40)]
    for client in clients:
        client.send("/busy/0.02")
    os.kill(workers[0], signal.SIGCONT)
    time.sleep(0.05)
    os.kill(workers[1], signal.SIGCONT)
    return smaller_share(clients, workers)


def smaller_share(clients, workers):
    pids = Counter(int(client.receive()[2]) for client in clients)
    assert sum(pids.values()) == len(clients)
    for client in clients:
        client.close()
    return min(pids[pid] for pid in workers)


def test_one_of_gunicorns_workers_takes_a_burst_away_from_its_sibling(host):
    workers = two_workers(host, STOCK)
    # The clearest of some, here and below: on a busy machine it can take long until a worker goes on.
    assert min(burst_while_both_are_away(host, workers) for _ in range(4)) <= 4


def test_two_instances_share_a_burst(host):
    workers = two_workers(host, LOSSLESS)
    assert max(burst_while_both_are_away(host, workers) for _ in range(4)) >= 10


def burst_of_connections_that_ask_later(host, workers):
    """The smaller of two workers' shares in 40 connections that one could have accepted before the first of them asked."""
    os.kill(workers[0], signal.SIGSTOP)
    clients = [host.connect() for _ in range(40)]
    os.kill(workers[0], signal.SIGCONT)
    for client in clients:
        client.send("/busy/0.02")
    return smaller_share(clients, workers)


def test_an_instance_does_not_take_all_connections_before_they_ask(host):
    workers = two_workers(host, LOSSLESS)
    assert max(burst_of_connections_that_ask_later(host, workers) for _ in range(5)) >= 8


def test_connections_that_never_ask_keep_nobody_from_coming_in(host):
    host.start(**LOSSLESS).wait_ready()
    for _ in range(100):
        host.connect()
    assert host.get("/")[0] == 200


# ---- an idle connection whose time is over


def test_requests_that_arrived_when_the_time_of_their_connection_was_over_are_answered(host):
    host.start(keepalive=2).wait_ready()
    clients = [host.connect() for _ in range(5)]
    for client in clients:
        client.get("/")
    time.sleep(1.6)
    host.connect().send("/busy/2.0")
    time.sleep(1.0)
    for client in clients:
        client.send("/")
    assert answered(clients) == 5


def test_a_request_that_comes_while_its_connection_is_ended_is_told_so():
    """The moment is too short to be met from outside: between the end of reading and the read that sees it."""
    from pygun_runtime.worker import _Connection

    here, there = socket.socketpair()
    with here, there:
        connection = _Connection(SimpleNamespace(heard=lambda: None), here)
        there.sendall(b"GET / HTTP/1.1\r\n\r\n")
        connection.looks = 2
        connection.look(keepalive=2)
        assert here.recv(100) == b"GET / HTTP/1.1\r\n\r\n"
        there.sendall(b"and a body")
        assert here.recv(100) == b"and a body"
        closed = []
        connection.begin(SimpleNamespace(unreader=None, force_close=lambda: closed.append(True)))
        assert closed == [True]


def test_a_request_that_comes_in_bytes_for_ever_is_given_up(host):
    host.start(keepalive=1).wait_ready()
    client = host.connect()
    client.socket.sendall(b"GET / HTTP/1.1\r\nX: ")
    start = time.monotonic()
    with pytest.raises(OSError):  # noqa: PT011  (a reset or a broken pipe)
        while time.monotonic() - start < 12:
            client.socket.sendall(b"x")
            time.sleep(0.01)
    assert time.monotonic() - start < 8


@pytest.mark.parametrize("expect", [False, True], ids=["body", "expect"])
def test_an_upload_that_begins_as_its_idle_connection_is_ended_is_read_to_its_end(host, expect):
    """The worker computes over the end of the linger: it finds the request and the end in one moment."""
    instance = host.start(keepalive=60).wait_ready()
    upload, busy = host.connect(), host.connect()
    upload.get("/")
    busy.get("/")
    instance.signal(signal.SIGTERM)
    time.sleep(1.2)
    busy.send("/busy/2.0")
    time.sleep(0.6)
    head = b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
    upload.socket.sendall(head + (b"Expect: 100-continue\r\n\r\n" if expect else b"\r\n" + b"x" * 20000))
    time.sleep(1.8)
    if expect:
        assert upload.file.readline() + upload.file.readline() == b"HTTP/1.1 100 Continue\r\n\r\n"
    upload.socket.sendall(b"x" * (100000 if expect else 80000))
    assert busy.receive()[0] == 200
    status, headers, body = upload.receive()
    assert (status, headers["connection"], body) == (200, "close", "100000")


def test_a_connection_that_never_asked_is_ended_without_a_word_before_the_graceful_timeout_is_over(host):
    instance = host.start(keepalive=75, graceful_timeout=5).wait_ready()
    client = host.connect()
    time.sleep(0.3)
    instance.stop()
    assert "Graceful timeout" not in instance.log()
    assert client.socket.recv(100) == b""
    assert not re.search(r"\b500\b", instance.log())
    assert "Traceback" not in instance.log()


@pytest.mark.parametrize("path", ["/exit", "/busy/30.0"], ids=["SystemExit", "worker timeout"])
def test_a_request_that_ends_in_system_exit_is_answered_and_logged(host, path):
    app = APP + '\n@app.get("/exit")\ndef leave():\n    sys.exit("of its own accord")\n'
    instance = host.start(app=app, timeout=3, accesslog="-").wait_ready()
    start = time.monotonic()
    assert host.get(path)[0] == 500
    assert time.monotonic() - start < 8
    instance.stop()
    assert len(re.findall(rf"GET {path} 500", instance.log())) == 1


REFUSING = (
    APP
    + """
@app.post("/refused")
def refused():
    time.sleep(0.3)
    return "who are you?", 401
"""
)


@pytest.mark.parametrize("why", ["linger", "max_requests", "connection: close"])
def test_an_answer_to_a_body_that_nobody_reads_arrives(host, why):
    settings = {"max_requests": 2} if why == "max_requests" else {}
    instance = host.start(app=REFUSING, **settings).wait_ready()
    client = http.client.HTTPConnection(*host.address, timeout=20)
    client.request("GET", "/")
    client.getresponse().read()
    if why == "linger":
        instance.signal(signal.SIGTERM)
        time.sleep(0.5)
    headers = {"Connection": "close"} if why == "connection: close" else {}
    client.request("POST", "/refused", body=b"x" * 20_000_000, headers=headers)
    answer = client.getresponse()
    assert (answer.status, answer.read()) == (401, b"who are you?")
    client.close()


@pytest.mark.parametrize("place", ["Cookie", "path"])
def test_the_refusal_of_a_request_arrives_before_its_body_is_sent_to_the_end(host, place):
    """Behind nginx a reset is a 502, which says nothing of a cookie that is too large."""
    host.start(app=REFUSING).wait_ready()
    client, long = http.client.HTTPConnection(*host.address, timeout=20), "x" * 9000
    path, headers, status = ("/refused", {"Cookie": long}, 431) if place == "Cookie" else (f"/{long}", {}, 414)
    client.request("POST", path, body=b"x" * 20_000_000, headers=headers)
    answer = client.getresponse()
    assert answer.status == status
    assert "too large" in answer.read().decode().lower()
    client.close()


def certified(host):
    """The settings of TLS, with a new certificate."""
    certificate, key = host.folder / "certificate.pem", host.folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return {"certfile": str(certificate), "keyfile": str(key)}


def test_a_tls_connection_that_does_not_shake_hands_is_ended(host):
    instance = host.start(keepalive=1, graceful_timeout=8, **certified(host)).wait_ready()
    context = ssl._create_unverified_context()  # noqa: S323
    with context.wrap_socket(socket.create_connection(host.address)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    silent = host.connect()
    silent.socket.settimeout(20)
    assert silent.socket.recv(1) in (b"", b"\x15")  # the end, or TLS's own word for it
    host.connect().close()  # as a health check does that knows no TLS
    host.connect()
    time.sleep(0.2)
    assert instance.stop() < 8  # they are no requests that graceful_timeout would wait for
    assert "Traceback" not in instance.log()


def test_a_request_that_never_becomes_whole_is_given_up(host):
    host.start(keepalive=1).wait_ready()
    client = host.connect()
    client.socket.sendall(b"GET / HTTP/1.1\r\nHost: local")
    assert client.socket.recv(1) == b""


# ---- what is in flight


@pytest.mark.parametrize(
    "worker",
    [{"worker_class": "runtime.worker_class"}, {"worker_class": "'gthread'", "threads": 4}],
    ids=["lossless", "gthread"],
)
def test_streams_uploads_and_slow_requests_in_flight_are_finished(host, worker):
    instance = host.start(**worker).wait_ready()
    slow, stream, upload = host.connect(), host.connect(), host.connect()
    slow.send("/wait/3.0")
    stream.send("/stream/10")
    upload.socket.sendall(b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50000)
    time.sleep(1)
    instance.signal(signal.SIGTERM)
    for _ in range(10):
        time.sleep(0.2)
        upload.socket.sendall(b"x" * 5000)
    assert slow.receive()[0] == 200
    assert stream.receive()[2].splitlines() == [str(number) for number in range(10)]
    assert upload.receive()[2] == "100000"
    assert instance.wait_exit() == 0


def test_what_the_graceful_timeout_cuts_off_is_logged_without_its_query(host):
    instance = host.start(graceful_timeout=5).wait_ready()
    host.connect().send("/wait/30.0?token=secret")
    time.sleep(1)
    assert instance.stop() < 9
    assert "Graceful timeout, cut off: GET /wait/30.0 after" in instance.log()
    assert "secret" not in instance.log()


def test_what_a_worker_timeout_cuts_off_is_logged(host, eventually):
    instance = host.start(timeout=2).wait_ready()
    host.connect().send("/busy/30.0")
    eventually(lambda: "Worker timeout, cut off: GET /busy/30.0 after" in instance.log(), what=instance.log)


def test_the_call_that_blocks_a_worker_is_named(host, eventually):
    instance = host.start(timeout=2).wait_ready()
    host.connect().send("/busy/30.0")
    eventually(
        lambda: re.search(r"Worker blocked, it is at:\n(.*\n)*.*line \d+, in busy", instance.log()), what=instance.log
    )


def test_a_call_into_c_that_lets_no_signal_handler_run_is_named(host, eventually):
    instance = host.start(timeout=2).wait_ready()
    host.connect().send("/hash")
    eventually(lambda: "was sent SIGKILL" in instance.log(), what=instance.log)
    assert "Worker blocked" not in instance.log(), "the handler has run; this call shows nothing"
    assert re.search(r"Timeout \(0:00:02.*\n(.*\n)*.*line \d+ in hash", instance.log()), instance.log()


def test_a_worker_is_replaced_after_max_requests_without_a_loss(host):
    host.start(max_requests=5, workers=2).wait_ready(2)
    slow = [host.connect() for _ in range(3)]
    for client in slow:
        client.send("/wait/1.5")
    pids = set()
    for _ in range(30):
        client = host.connect()
        status, headers, pid = client.get("/")
        assert status == 200
        pids.add(pid)
        if headers.get("connection") != "close":
            assert client.get("/")[0] == 200
        client.close()
    assert answered(slow) == 3
    assert len(pids) > 2


def test_pipelined_requests_are_all_answered(host):
    host.start().wait_ready()
    client = host.connect()
    client.socket.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
    assert [client.receive()[0] for _ in range(20)] == [200] * 20


def test_an_idle_connection_is_closed_after_keepalive(host):
    host.start(keepalive=1).wait_ready()
    client = host.connect()
    start = time.monotonic()
    client.get("/")
    assert client.socket.recv(1) == b""
    assert 1 <= time.monotonic() - start < 6  # the worker looks once a second


def test_a_busy_connection_lets_others_go_first(host):
    """A client that pipelines long computations must not hold up one that asks once."""
    host.start().wait_ready()
    greedy = host.connect()
    greedy.socket.sendall(b"GET /busy/0.05 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
    time.sleep(0.1)
    start = time.monotonic()
    assert host.get("/")[0] == 200
    assert time.monotonic() - start < 2  # of 5


def test_new_connections_come_in_while_others_never_pause(host):
    """20 clients always have a next computation ready. One new connection for each round of theirs is not enough."""
    host.start().wait_ready()
    greedy = [host.connect().socket for _ in range(20)]
    for client in greedy:
        client.sendall(b"GET /busy/0.01 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
    time.sleep(2)
    greedy[0].setblocking(False)
    answers_so_far(greedy[0])
    new = [host.connect() for _ in range(15)]
    for client in new:
        client.send("/")
    assert answered(new) == 15
    assert answers_so_far(greedy[0]) <= 8  # rounds; with one connection for each there would be 15


def answers_so_far(connection):
    """How many answers have come on a connection that does not block."""
    data = b""
    with contextlib.suppress(BlockingIOError):
        while piece := connection.recv(65536):
            data += piece
    return data.count(b"HTTP/1.1 200")


def test_connections_are_served_in_the_order_in_which_they_asked(host):
    """Ten clients that ask again at once: each is about the tenth after itself.

    Not quite: whoever was the last of a round asks again when the next one has begun.
    """
    host.start().wait_ready()
    clients = {host.connect().socket: number for number in range(10)}
    selector = selectors.DefaultSelector()
    request = b"GET /busy/0.02 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for client in clients:
        client.sendall(request)
        selector.register(client, selectors.EVENT_READ)
    order = []
    while len(order) < 120:
        for key, _events in selector.select(5):
            assert key.fileobj.recv(65536).startswith(b"HTTP/1.1 200")
            order.append(clients[key.fileobj])
            key.fileobj.sendall(request)
    settled = order[30:]
    distances = [
        settled[place + 1 :].index(who) + 1 for place, who in enumerate(settled) if who in settled[place + 1 :]
    ]
    assert sum(8 <= distance <= 11 for distance in distances) >= 0.75 * len(distances), str(order)


def test_headers_and_body_of_a_short_answer_come_together(host):
    host.start().wait_ready()
    client = host.connect()
    client.send("/healthz")
    assert client.socket.recv(65536).endswith(b"\r\n\r\nok")


def test_the_first_piece_of_a_stream_comes_at_once(host):
    host.start().wait_ready()
    client = host.connect()
    start = time.monotonic()
    client.send("/stream/10")
    assert client.socket.recv(65536).count(b"\r\n\r\n2\r\n0\n\r\n") == 1
    assert time.monotonic() - start < 1.5  # of 2


def test_a_large_answer_is_whole(host):
    app = "def app(environ, start_response):\n    start_response('200 OK', [('Content-Length', '3000000')])\n    return [b'x' * 3000000]\n"
    host.start(app=app).wait_ready()
    assert len(host.get("/")[2]) == 3_000_000


def test_an_unknown_gunicorn_gets_its_own_worker_and_a_warning(host):
    known = "import pygun_runtime.runtime\npygun_runtime.runtime.TESTED_GUNICORN = ('1.0',)"
    instance = host.start(worker_class=f"(exec({known!r}), runtime.worker_class)[1]").wait_ready()
    assert (instance.record()["worker_class"], instance.record()["lossless"]) == ("gevent", False)
    assert "not known to the lossless worker" in instance.log()
    assert host.get()[0] == 200


# ---- a rolling restart under load, as an activation does it


def test_a_rolling_restart_under_load_loses_nothing(host):
    failures, done, end = [], Counter(), threading.Event()

    def load(kind):
        client = None
        while not end.is_set():
            try:
                if kind == "new":
                    done[kind] += host.get("/")[0] == 200
                    time.sleep(0.01)
                elif kind == "slow":
                    done[kind] += host.get("/wait/0.7")[0] == 200
                else:
                    client = client or host.connect()
                    status, headers, _ = client.get("/")
                    done[kind] += status == 200
                    if headers.get("connection") == "close":
                        client = None
                    time.sleep(0.02)
            except OSError as error:
                failures.append((kind, repr(error)))
                client = None

    instances = [host.start(name=f"app-{number}").wait_ready() for number in (0, 1)]
    threads = [threading.Thread(target=load, args=(kind,)) for kind in ["new", "new", "slow", "slow", "keep", "keep"]]
    for thread in threads:
        thread.start()
    for _ in range(2 if os.environ.get("PYGUN_FULL") else 1):
        for number in (0, 1):
            instances[number].stop()
            instances[number] = host.start(name=f"app-{number}").wait_ready()
    end.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(done) == {"new", "slow", "keep"}
    assert min(done.values()) >= 2  # each kind met a restart; how many more depends on the machine
