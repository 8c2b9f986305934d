# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs on the host: reads the logs as they are, asks hostile questions, kills. Answers with one line of JSON.

    on_logs.py lines APP                 every line of the app's logs, checked byte by byte
    on_logs.py ids APP AGENT             the same, but only how often each id stands in access lines of that user agent
    on_logs.py hostile PORT              texts that want to break a line, through every way in; what was sent
    on_logs.py ask PORT COUNT            so many requests, and how many of them were answered
    on_logs.py kill-instance APP         SIGKILL to the master and the workers of the first instance at once
    on_logs.py rotate APP [DAYS]         logrotate as its timer calls it, as if the logs had last been rotated long ago,
                                         and the rotated files were DAYS older
    on_logs.py files APP                 names and sizes of the log files

Uses nothing of the collection: what it says must not depend on what it judges.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from on_host import instances

STATES = Path("/var/lib/pygun-logrotate")


def files(app: str) -> list[Path]:
    """Of all instances, without the raw logs."""
    return sorted(
        path for path in Path("/var/log", app).iterdir() if re.fullmatch(rf"{app}-\d+\.log(\.\d+(\.gz)?)?", path.name)
    )


def lines(app: str):
    """Every line; raises AssertionError at the first one that is not what each must be."""
    for path in files(app):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert not data or data.endswith(b"\n"), f"{path} ends with half a line: {data[-200:]!r}"
        for line in data.split(b"\n")[:-1]:
            yield path, checked(line, path)


def checked(line: bytes, path: Path) -> dict:
    where = f"{path}: {line[:300]!r}"
    assert line and min(line) >= 32 and 127 not in line, f"a control character: {where}"
    try:
        text = line.decode()
        fields = json.loads(text, object_pairs_hook=once, parse_constant=refuse)
    except ValueError as error:
        raise AssertionError(f"{error}: {where}") from None
    assert not re.search("[\x80-\x9f\u2028\u2029]", text), f"a control character: {where}"
    assert isinstance(fields, dict), where
    for name in (
        "@timestamp",
        "log.level",
        "message",
        "ecs.version",
        "log.logger",
        "service.name",
        "service.version",
        "service.node.name",
        "process.pid",
    ):
        assert name in fields, f"{name} is missing: {where}"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", fields["@timestamp"]), where
    assert fields["log.level"] in ("debug", "info", "warning", "error", "critical"), where
    return fields


def once(pairs: list) -> dict:
    names = Counter(name for name, _value in pairs)
    if max(names.values(), default=0) > 1:
        raise ValueError(f"fields that stand twice: {names.most_common(1)}")
    return dict(pairs)


def refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def ids(app: str, agent: str) -> dict:
    found: Counter = Counter()
    count = 0
    for _path, fields in lines(app):
        count += 1
        if fields["log.logger"] == "access" and fields.get("user_agent.original") == agent:
            assert fields["http.response.status_code"] == 200, fields
            assert fields["event.duration"] >= 0, fields
            found[fields["http.request.id"]] += 1
    return {"ids": found, "lines": count, "files": [path.name for path in files(app)]}


# --- asking ---------------------------------------------------------------------------------------------------------


def exchange(port: int, head: bytes, body: bytes = b"") -> bytes:
    """One request, byte for byte; the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head + b"Host: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer


TEXTS = {
    "newlines": "one\ntwo\r\nthree\rfour\x0bfive\x0csix\x85seven\u2028eight\u2029nine",
    "a line of its own": '"}\n{"@timestamp":"2000-01-01T00:00:00.000Z","message":"forged"}\n',
    "control characters": "".join(map(chr, range(32))) + "\x7f" + "".join(map(chr, range(0x80, 0xA0))),
    "colours": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J",
    "quotes": '\\ " \\" \' \\n \\u0000 %s %(message)s {0} %',
    "letters": "grüße 漢字 👩‍🔬 \u202e\u200b\ufeff",
    "a mebibyte": "x" * 2**20,
    "a mebibyte of line ends": "\n" * 2**20,
}
# Not even text: how each is expected in the log.
BYTES = {
    "bytes": (b"a\xff\xfe\x80z\xc3", "a\\xff\\xfe\\x80z\\xc3"),
    "a surrogate": (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
}
PATHS = [b"/%ff%fe%80", b"/%0a%1b[31m%00%7f", b'/"}\\']
# gunicorn refuses these before it has read a header.
REFUSED = [b"/\xff\xfe\x80", b"/\x1b[31m", "/grüße".encode(), b"/\x00", b"/a\rb"]


def hostile(port: int) -> dict:
    sent: dict = {"messages": {}, "paths": {}, "statuses": {}, "begun": time.time(), "refused": len(REFUSED)}
    run = f"hostile-{time.time_ns():x}"

    def ask(name: str, method: bytes, target: bytes, body: bytes = b"", headers: bytes = b"") -> str:
        request_id = f"{run}-{len(sent['statuses'])}"
        head = b"%s %s HTTP/1.1\r\nX-Request-ID: %s\r\n%s" % (method, target, request_id.encode(), headers)
        answer = exchange(port, head, body)
        sent["statuses"][name] = (request_id, answer.split(b" ", 2)[1].decode())
        assert b"x-request-id: " + request_id.encode() in answer.lower(), (name, answer[:300])
        return request_id

    for name, text in TEXTS.items():
        for way in ("log/error", "print", "warn", "library/a.library", "raise"):
            if way != "log/error" and name.startswith("a mebibyte"):
                continue
            # Python gives the same warning only once.
            data = (f"{text} {run}" if way == "warn" else text).encode()
            request_id = ask(f"{name}, {way}", b"POST", f"/{way}".encode(), data)
            sent["messages"][request_id] = [way, base64.b64encode(data).decode()]
    for name, (data, logged) in BYTES.items():
        request_id = ask(name, b"POST", b"/log/info", data)
        sent["messages"][request_id] = ["log/info", base64.b64encode(logged.encode()).decode()]
    for path in PATHS:
        sent["paths"][ask(str(path), b"GET", path)] = path.decode()
    for path in REFUSED:
        answer = exchange(port, b"GET %s HTTP/1.1\r\n" % path)
        assert answer.startswith(b"HTTP/1.1 400 "), (path, answer[:300])
    ask("headers", b"GET", b"/", headers=b'User-Agent: \xff"}\\\xc3\xbc\r\nReferer: http://x/\xff?a="b\r\n')
    return sent


def asked(app: str, count: int) -> dict:
    """The instances in turn, each at its own socket: of the public one the kernel may give all to one."""
    return {"statuses": Counter(ask_instance(app, f"{app}-{number % 2}") for number in range(count))}


def ask_instance(app: str, name: str) -> str:
    with socket.socket(socket.AF_UNIX) as private:
        private.settimeout(30)
        private.connect(f"/run/{app}/{name}.sock")
        private.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := private.recv(65536):
            answer += piece
    return answer.split(b" ", 2)[1].decode()


# --- breaking and rotating ------------------------------------------------------------------------------------------


def kill_instance(app: str) -> dict:
    victim = instances(app)[0]
    pids = [victim["pid"], *victim["workers"]]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)  # so that none sees another one's end
    begun = time.time()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    at = time.time()
    return {"name": victim["name"], "pids": pids, "begun": begun, "at": at}


@contextlib.contextmanager
def at_rest():
    """No rotation meanwhile; one that was under way has come to its end."""
    systemctl("stop", "pygun-logrotate.timer")
    systemctl("start", "pygun-logrotate.service")
    try:
        yield
    finally:
        systemctl("start", "pygun-logrotate.timer")


def rotate(app: str, days: float) -> dict:
    # An empty log is not rotated, one instance may take all that comes to the public socket, and for up to a second
    # after the last rotation an instance writes to what was renamed.
    for instance in instances(app):
        log = Path(f"/var/log/{app}/{instance['name']}.log")
        deadline = time.monotonic() + 60
        while not log.stat().st_size:
            assert time.monotonic() < deadline, f"{log} stays empty"
            ask_instance(app, instance["name"])
            time.sleep(0.2)
    with at_rest():
        for path in files(app):
            if path.suffix != ".log":
                found = path.stat()
                os.utime(path, (found.st_atime, found.st_mtime - days * 86400))
        path = STATES / f"{app}.conf.status"
        state = re.sub(rf'("/var/log/{app}/[^"]*") .*', r"\1 2020-1-1-0:0:0", path.read_text())
        assert "2020-1-1" in state, state
        path.write_text(state)
        systemctl("start", "pygun-logrotate.service")
        return {"files": {path.name: (time.time() - path.stat().st_mtime) / 86400 for path in files(app)}}


def systemctl(*words: str) -> None:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def main() -> None:
    word, app, *values = sys.argv[1:]
    if word == "lines":
        with at_rest():
            answer = [fields for _path, fields in lines(app)]
    elif word == "ids":
        with at_rest():
            answer = ids(app, values[0])
    elif word == "hostile":
        answer = hostile(int(app))
    elif word == "ask":
        answer = asked(app, int(values[0]))
    elif word == "kill-instance":
        answer = kill_instance(app)
    elif word == "rotate":
        answer = rotate(app, float(values[0]) if values else 0)
    elif word == "files":
        answer = {path.name: path.stat().st_size for path in files(app)}
    else:
        raise SystemExit(f"what is {word}?")
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
