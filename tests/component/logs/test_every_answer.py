"""As many access lines as there are answers, whoever answers; and nothing a caller sends breaks a line."""

import json
import signal
import threading

import pytest

BROKEN_APP = """
import os

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/raises":
        raise RuntimeError("no")
    if path == "/exits":
        raise SystemExit(1)
    if path == "/bad-header":
        start_response("200 OK", [("Bad Header", "x")])
    else:
        length = {"/short": 4, "/file": os.path.getsize(__file__)}.get(path)
        start_response("200 OK", [("Content-Length", str(length))] if length else [])
    if path == "/raises-late":
        def late():
            yield b"a part"
            raise RuntimeError("late")
        return late()
    if path == "/raises-first":
        def first():
            raise RuntimeError("first")
            yield b""
        return first()
    if path == "/file":
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))
    return [b"ok", b"ok"]
"""


ANSWERS = {
    "/": 200,
    "/short": 200,
    "/raises": 500,
    "/bad-header": 500,
    "/raises-first": 500,
    "/raises-late": 200,
}


def test_an_answer_has_one_line_whatever_the_app_does(service, any_worker):
    service.start(app=BROKEN_APP, **any_worker)
    for path, status in ANSWERS.items():
        answer = service.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert int(answer.split()[1]) == status, path
    service.instance.stop()
    lines = service.access()
    assert [(line["url.path"], line["http.response.status_code"]) for line in lines] == [*ANSWERS.items()], (
        service.text()
    )
    assert lines[0]["http.response.body.bytes"] == 4


def test_the_bytes_of_a_file_that_the_kernel_sends_are_counted(service, any_worker):
    service.start(app=BROKEN_APP, **any_worker)
    answers = [service.raw(f"{method} /file HTTP/1.0\r\nHost: x\r\n\r\n".encode()) for method in ("GET", "HEAD")]
    service.instance.stop()
    sizes = [line["http.response.body.bytes"] for line in service.access()]
    assert sizes == [len(answer.partition(b"\r\n\r\n")[2]) for answer in answers]


REFUSED = {
    "garbage": b"GARBAGE\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "bad version": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "bad method": b"G\x00T / HTTP/1.1\r\nHost: x\r\n\r\n",
    "bad header name": b"GET /path HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n",
    "bad header": b"GET /path HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
    "header too long": b"GET /path HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20000 + b"\r\n\r\n",
    "line too long": b"GET /" + b"y" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "too many headers": b"GET /path HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n",
    "bad encoding": b"GET /path HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: nonsense\r\n\r\n",
    "bad length": b"GET /path HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n\r\n",
    "bytes in the path": b"GET /\xff\xfe\x1b[31m HTTP/1.1\r\nHost: x\r\n\r\n",
}


def test_what_gunicorn_refuses_itself_has_a_line(service, any_worker):
    service.start(**any_worker)
    answers = {what: int(service.raw(data).split()[1]) for what, data in REFUSED.items()}
    service.instance.stop()
    lines = service.access()
    assert [line["http.response.status_code"] for line in lines] == list(answers.values())
    assert all(status >= 400 for status in answers.values())
    assert {line["client.address"] for line in lines} == {"127.0.0.1"}
    assert len({line["http.request.id"] for line in lines}) == len(REFUSED)


PATHS = {
    "/%0a%0d%1b%5b31m%ff": "/%0a%0d%1b%5b31m%ff",
    "/\u00e9\u2028": "/\u00e9\u2028",
    '/"\\x': '/"\\x',
    "http://somewhere/else?x": "/else",
    "//double": "//double",
}


def test_any_path_stays_in_its_line(service, a_worker):
    service.start(**a_worker)
    for target in PATHS:
        service.raw(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    service.instance.stop()
    lines = service.access()
    assert len(lines) == len(PATHS)
    for line, path in zip(lines, PATHS.values()):
        assert line.get("url.path", "refused") == (path if line["http.response.status_code"] != 400 else "refused")


def test_bytes_of_headers_that_are_no_text_stay_in_their_line(service, a_worker):
    service.start(**a_worker)
    service.raw(
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b'User-Agent: caf\xc3\xa9 \xff\xc2\x9b31m \xe2\x80\xa8end\r\nReferer: \x80"\\\r\n\r\n'
    )
    service.instance.stop()
    (line,) = service.access()
    assert line["user_agent.original"] == "caf\u00e9 \\xff\u009b31m \u2028end"
    assert line["http.request.referrer"] == '\\x80"\\'
    assert "\u2028" not in service.text() and "\u009b" not in service.text()  # escaped: terminals obey the latter


HOSTILE = {
    "lines": 'one\ntwo\r\nthree\n{"log.level":"forged"}',
    "control": "".join(map(chr, range(0x20))) + "\x7f\x85\x9b31m\u2028\u2029",
    "ansi": "\x1b[31mred\x1b]0;title\x07",
    "surrogates": "\ud800 \udcff \U0001f600",
    "mebibyte": "x" * (1 << 20),
    "mebibyte of quotes": '"' * (1 << 20),
    "quotes": '\\"\\\\"\\u0000',
    "empty": "",
}


@pytest.mark.parametrize("style", ["json", "text"])
def test_any_message_stays_in_its_line(service, style):
    app = f"""
    import json, logging
    HOSTILE = json.loads({json.dumps(json.dumps(HOSTILE))})
    def app(environ, start_response):
        if environ["PATH_INFO"] == "/go":
            for name, text in HOSTILE.items():
                logging.getLogger(text[:50]).warning("%s: %s", name, text, extra={{"label\\n" + text[:50]: text}})
                try:
                    raise ValueError(text)
                except ValueError:
                    logging.exception("raised %s", name)
        start_response("200 OK", [("Content-Length", "0")])
        return []
    """
    service.start(app=app, runtime=f"log_format={style!r}")
    assert service.get("/go")[0] == 200
    service.instance.stop()
    text = service.text()
    assert not set(text) & {chr(code) for code in [*range(10), *range(11, 32), 0x85, 0x9B, 0x2028, 0x2029]}
    ours = [line for line in text.splitlines() if "surrogates" in line or "mebibyte" in line]
    assert len(ours) == 6
    if style == "json":
        found = {line["message"].partition(": ")[0]: line for line in service.lines()}
        for name, hostile in HOSTILE.items():
            if name != "surrogates":
                assert found[name]["message"] == f"{name}: {hostile}"
                assert found[f"raised {name}"].get("error.message", "") == hostile
                assert found[name]["labels.label\n" + hostile[:50]] == hostile
        assert found["surrogates"]["message"] == "surrogates: \\ud800 \\xff \U0001f600"


def test_under_load_with_restarts_every_answer_has_its_line(service, eventually):
    """HUP and a change of the number of workers, from all of which no answer and no line is lost."""
    service.start(workers=2)
    ids, stop = [], threading.Event()

    def ask():
        client = None
        while not stop.is_set():
            client = client or service.host.connect()
            client.send("/id")
            _status, headers, body = client.receive()
            assert headers["x-request-id"] == body
            ids.append(body)
            if headers.get("connection") == "close":
                client = None

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for number in (signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1):
        threading.Event().wait(0.5)
        service.instance.signal(number)
    eventually(lambda: len(ids) > 100, what=service.text)
    stop.set()
    for thread in threads:
        thread.join()
    service.instance.stop()
    logged = [line["http.request.id"] for line in service.access()]
    assert sorted(logged) == sorted(ids)
