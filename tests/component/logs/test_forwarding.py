"""Lines for journald and syslog: real datagram sockets in the places of theirs."""

import json
import os
import re
import socket
import time

import pytest

from pygun_runtime import log_forward
from pygun_runtime.log_line import JsonLines, Redaction


@pytest.fixture
def daemon(host):
    """A socket that collects datagrams."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.bind(str(host.folder / "daemon.sock"))
    made.settimeout(5)
    yield made
    made.close()


def parse_journal(data):
    """The fields of a datagram in the journal's protocol."""
    fields = {}
    while data:
        name, data = re.match(rb"([A-Z0-9_]+)([=\n].*)", data, re.DOTALL).groups()
        if data[:1] == b"=":
            value, _, data = data[1:].partition(b"\n")
        else:
            size = int.from_bytes(data[1:9], "little")
            value, data = data[9 : 9 + size], data[10 + size :]
        fields[name.decode()] = value.decode()
    return fields


def own(daemon):
    return (
        "import pygun_runtime.log_forward as forward\n"
        f"forward.Journald.__init__.__defaults__ = forward.Syslog.__init__.__defaults__ = ({daemon.getsockname()!r},)\n"
    )


def receive(daemon):
    found = []
    daemon.settimeout(2)  # the line of a request comes after its answer
    try:
        while True:
            found.append(daemon.recv(1 << 20))
    except TimeoutError:
        return found


@pytest.mark.parametrize("style", ["json", "text"])
def test_the_journal_gets_every_field(service, daemon, style):
    service.start(runtime=f"log_to=['journald'], log_format={style!r}", own=own(daemon))
    service.get("/fail?a=b", "X-Request-ID: mine")
    found = [parse_journal(data) for data in receive(daemon)]
    service.instance.stop()
    assert service.text() == ""
    (access,) = [fields for fields in found if fields.get("LOG_LOGGER") == "access"]
    assert access["MESSAGE"] == "GET /fail 500"
    assert (access["PRIORITY"], access["SYSLOG_IDENTIFIER"]) == ("3", "app")
    assert (access["HTTP_REQUEST_ID"], access["URL_QUERY"], access["HTTP_RESPONSE_STATUS_CODE"]) == (
        "mine",
        "a=b",
        "500",
    )
    (failed,) = [fields for fields in found if "Exception on /fail" in fields["MESSAGE"]]
    assert failed["ERROR_STACK_TRACE"].startswith("Traceback (most recent call last):\n")


def test_syslog_gets_the_line_of_the_file(service, daemon):
    service.start(runtime="log_to=['file', 'syslog']", own=own(daemon))
    service.get("/say/library")
    found = [data.decode() for data in receive(daemon)]
    (worker,) = service.instance.workers()
    service.instance.stop()
    heads = [re.match(r"<(\d+)>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d app\[(\d+)\]: ", data) for data in found]
    assert all(heads)
    lines = [data[head.end() :] for data, head in zip(found, heads)]
    assert lines == service.text().splitlines()[: len(lines)]
    (said,) = [head for head, line in zip(heads, lines) if "said library" in line]
    assert said.groups() == (str(3 * 8 + 4), str(worker))  # daemon.warning


def test_a_line_that_is_too_long_for_a_datagram_is_cut(daemon):
    text = "\u00e9" * (1 << 20)
    assert log_forward.Syslog("app", daemon.getsockname()).send("info", {}, text)
    data = daemon.recv(1 << 20)
    assert len(data) <= log_forward.SYSLOG_LONGEST and data.decode().endswith("\u00e9")
    assert log_forward.Journald("app", daemon.getsockname()).send("info", {"message": text + "\n"}, "")
    assert parse_journal(daemon.recv(1 << 20).replace(b"\xc3\n", b"\n"))["MESSAGE"].startswith("\u00e9")


def test_a_daemon_that_is_slow_or_down_costs_lines_and_no_time(service, daemon):
    service.start(runtime="log_to=['file', 'syslog']", own=own(daemon))
    start = time.monotonic()
    for _ in range(100):  # nobody reads: the socket takes a few
        assert service.get()[0] == 200
    assert time.monotonic() - start < 20
    taken = len(receive(daemon))
    service.get("/say/app")
    service.instance.stop()
    reports = [line for line in service.lines() if "did not reach syslog" in line["message"]]
    assert len(service.access()) == 101
    assert taken < 100
    assert len(reports) == 1 and re.match(r"\d+ lines", reports[0]["message"]), service.text()


def test_a_daemon_that_is_missing_is_no_error(service):
    service.start(runtime="log_to=['file', 'journald', 'syslog']", own=own(MissingDaemon()))
    assert service.get()[0] == 200
    service.instance.stop()
    assert len(service.access()) == 1


class MissingDaemon:
    def getsockname(self):
        return "/nonexistent/socket"


def test_each_process_has_a_socket_of_its_own(daemon):
    forwarder = log_forward.Syslog("app", daemon.getsockname())
    forwarder.send("info", {}, "parent")
    mine = forwarder._socket.fileno()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        forwarder.send("info", {}, "child")
        os.write(writing, json.dumps(os.fstat(forwarder._socket.fileno()).st_ino).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert json.loads(os.read(reading, 100)) != os.fstat(mine).st_ino
    assert [b"parent" in daemon.recv(999), b"child" in daemon.recv(999)] == [True, True]


def test_names_of_fields_are_what_the_journal_takes(daemon):
    line = JsonLines({"service.name": "app"}, Redaction()).event(
        0.0, "info", "m", "l", labels={"_x.\u00e9-1": "v\n", "9" * 100: 1}
    )
    log_forward.Journald("app", daemon.getsockname()).send("info", json.loads(line), "")
    names = set(parse_journal(daemon.recv(9999)))
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]{0,63}", name) for name in names)
    assert "LABELS__X___1" in names
