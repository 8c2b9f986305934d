"""The id of a request: taken over or made, handed on to whatever the request starts, and given back."""

import json
import re
import signal

import pytest


def test_a_sane_id_of_the_caller_is_taken_over(service, a_worker):
    service.start(**a_worker)
    given = "Root=1-67891233-abcdef012345678912345678;a/b+c~d:e@f_g"
    _status, headers, body = service.get("/id", f"X-Request-ID: {given}")
    service.instance.stop()
    assert headers["x-request-id"] == body == service.access()[0]["http.request.id"] == given


OTHERS = ["", "a b", 'a"b', "a\\b", "x" * 129, "caf\u00e9", "a,b", "\x1b[31m"]


def test_any_other_is_replaced(service):
    service.start()
    request = "GET /id HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-ID: {}\r\n\r\n"
    answers = [service.raw(request.format(given).encode()) for given in OTHERS]
    service.instance.stop()
    lines = service.access()
    assert len(lines) == len(OTHERS)
    for answer, line in zip(answers, lines):
        made = line["http.request.id"]
        if b" 400 " in answer.splitlines()[0]:  # a control character: gunicorn refuses the request
            assert line["http.response.status_code"] == 400
        else:
            assert f"X-Request-ID: {made}\r\n".encode() in answer
            assert answer.endswith(made.encode())
        assert re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", made)


def test_two_given_at_once_count_as_one(service):
    service.start()
    _status, headers, body = service.get("/id", "X-Request-ID: first", "X-Request-ID: second")
    service.instance.stop()
    assert headers["x-request-id"] == body == service.access()[0]["http.request.id"] == "first"


def test_no_two_requests_have_the_same(service, a_worker):
    service.start(workers=2, preload_app=True, **a_worker)
    ids = [service.get("/id")[1]["x-request-id"] for _ in range(30)]
    service.instance.stop()
    assert len(set(ids)) == 30
    assert sorted(ids) == sorted(line["http.request.id"] for line in service.access())


def test_requests_of_one_connection_have_ids_of_their_own(service):
    service.start()
    client = service.host.connect()
    ids = [client.get("/id")[1]["x-request-id"] for _ in range(5)]
    assert len(set(ids)) == 5
    client.socket.sendall(b"NOT HTTP\r\n\r\n")
    client.file.read()
    service.instance.stop()
    refused = service.access()[-1]
    assert refused["http.response.status_code"] == 400
    assert refused["http.request.id"] not in ids
    assert service.saying("Invalid request from")["http.request.id"] == refused["http.request.id"]


def test_a_header_that_the_app_sets_itself_is_not_doubled(service):
    app = """
    def app(environ, start_response):
        start_response("200 OK", [("x-request-ID", "the app's"), ("Content-Length", "0")])
        return []
    """
    service.start(app=app)
    answer = service.raw(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.lower().count(b"x-request-id") == 1
    assert b"the app's" in answer


SPAWNING = """
import contextvars, threading, time
from concurrent.futures import ThreadPoolExecutor
from flask import Flask, request
import gevent, gevent.pool, gevent.threadpool

app = Flask(__name__)
pool = ThreadPoolExecutor(1)
private = contextvars.ContextVar("private", default="unset")

def say(way):
    print("said by", way, private.get())

@app.get("/")
def index():
    return "ok"

@app.get("/spawn/<way>")
def spawn(way):
    private.set("set")
    if way == "thread":
        thread = threading.Thread(target=say, args=[way]); thread.start(); thread.join()
    elif way == "subclass":
        class Saying(threading.Thread):
            def run(self):
                say(way)
        thread = Saying(); thread.start(); thread.join()
    elif way == "timer":
        timer = threading.Timer(0.01, say, [way]); timer.start(); timer.join()
    elif way == "executor":
        pool.submit(say, way).result()
    elif way == "map":
        list(pool.map(say, [way]))
    elif way == "greenlet":
        gevent.spawn(say, way).join()
    elif way == "later":
        gevent.spawn_later(0.01, say, way).join()
    elif way == "pool":
        gevent.pool.Pool(2).spawn(say, way).join()
    elif way == "grandchild":
        gevent.spawn(lambda: gevent.spawn(say, way).join()).join()
    elif way == "threadpool":
        gevent.get_hub().threadpool.apply(say, [way])
    elif way == "gevent-executor":
        gevent.threadpool.ThreadPoolExecutor(1).submit(say, way).result()
    elif way == "after":
        gevent.spawn_later(0.3, say, way)
    return "ok"
"""

NATIVE = ["thread", "subclass", "timer", "executor", "map"]
GEVENT = ["greenlet", "later", "pool", "grandchild", "threadpool", "gevent-executor", "after"]


@pytest.mark.parametrize("worker_class", ["runtime.worker_class", "'gthread'", "'sync'"])
def test_whatever_a_request_starts_carries_its_id_and_nothing_else(service, worker_class, eventually):
    service.start(app=SPAWNING, worker_class=worker_class)
    ways = NATIVE + (GEVENT if worker_class.startswith("runtime") else [])
    for way in ways:
        for turn in ("1", "2"):  # a thread of a pool was started by the first
            assert service.get(f"/spawn/{way}", f"X-Request-ID: {way}-{turn}")[0] == 200
    eventually(lambda: service.text().count("said by") == 2 * len(ways), what=service.text)
    service.instance.stop()
    found = [(line["message"], line.get("http.request.id")) for line in service.lines() if "said by" in line["message"]]
    assert sorted(found) == sorted((f"said by {way} unset", f"{way}-{turn}") for way in ways for turn in "12")


def test_what_belongs_to_no_request_has_no_id(service, any_worker):
    service.start(**any_worker)
    service.get("/", "X-Request-ID: mine")
    service.instance.stop()
    ends = service.saying("Worker exiting")
    assert "http.request.id" not in ends
    assert [line for line in service.lines() if line.get("http.request.id") == "mine"] == service.access()


def test_concurrent_requests_keep_their_ids_apart(service):
    app = """
    import time
    from flask import Flask, request
    app = Flask(__name__)

    @app.get("/")
    def index():
        for step in range(3):
            app.logger.info("for %s", request.args.get("who"))
            time.sleep(0.05)
        return "ok"
    """
    service.start(app=app)
    clients = [service.host.connect() for _ in range(20)]
    for number, client in enumerate(clients):
        client.send(f"/?who=caller{number}", headers=[f"X-Request-ID: caller{number}"])
    for number, client in enumerate(clients):
        assert client.receive()[1]["x-request-id"] == f"caller{number}"
    service.instance.stop()
    said = [line for line in service.lines() if line["message"].startswith("for caller")]
    assert len(said) == 60
    assert all(line["message"] == f"for {line['http.request.id']}" for line in said)


def test_a_hook_of_ones_own_sees_the_id(service):
    own = """
def pre_request(worker, req):
    worker.log.info("before %s", req.path)

def post_request(worker, req, environ, resp):
    worker.log.info("after %s", environ["HTTP_X_REQUEST_ID"])
"""
    service.start(own=own)
    service.get("/", "X-Request-ID: mine")
    service.instance.stop()
    assert service.saying("before /")["http.request.id"] == "mine"
    assert service.saying("after mine")["http.request.id"] == "mine"


def test_it_is_there_with_another_logger(host):
    instance = host.start(own="logger_class = 'gunicorn.glogging.Logger'").wait_ready()
    client = host.connect()
    client.send("/", headers=["X-Request-ID: mine"])
    assert client.receive()[1]["x-request-id"] == "mine"
    instance.signal(signal.SIGTERM)
    instance.wait_exit()
    assert json.dumps("mine") not in instance.log()
