# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One request over a raw socket: what cannot be arranged from outside the client."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from load_http import CloseRace, Connection, Failed, Request, Target

QUESTION = Request("GET", "/")


def exchange(connection):
    return connection.exchange(QUESTION, keep=True, timeout=5)


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_a_request_sent_into_a_connection_that_was_closed_meanwhile_is_a_close_race(serve, unix):
    server = serve(lambda _number, _path: "idle_close", unix=unix)
    connection = Connection(Target.parse(server.target), 5)
    exchange(connection)
    time.sleep(0.1)  # the FIN is here; nobody looks, as if it had come a moment later

    with pytest.raises(CloseRace):
        exchange(connection)
    assert server.read == 1


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_a_request_that_was_read_and_dropped_is_lost_on_a_reused_connection_too(serve, unix):
    server = serve(lambda number, _path: "close" if number == 1 else "", unix=unix)
    connection = Connection(Target.parse(server.target), 5)
    exchange(connection)

    with pytest.raises(Failed) as raised:
        exchange(connection)

    assert raised.value.name == "closed_before_answer"
    assert server.read == 2


def test_a_connection_that_the_server_closed_is_known_to_be_closed(serve):
    server = serve(lambda number, _path: "idle_close" if number == 1 else "")
    connection = Connection(Target.parse(server.target), 5)
    exchange(connection)
    assert connection.is_open()
    exchange(connection)
    give_up = time.monotonic() + 30
    while connection.is_open() and time.monotonic() < give_up:
        time.sleep(0.02)

    assert not connection.is_open()


def test_a_connection_that_was_never_accepted_is_reset():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = Connection(Target.parse(f"127.0.0.1:{listener.getsockname()[1]}"), 5)

    with pytest.raises(Failed) as raised:
        exchange(connection)

    assert raised.value.name == "reset_before_answer"


def test_a_full_backlog_of_a_unix_socket_is_waited_for(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(0)
        target = Target.parse(f"unix:{tmp_path}/s")
        first = Connection(target, 5)
        start = time.monotonic()
        threading.Timer(0.3, listener.accept).start()
        second = Connection(target, 5)

        assert time.monotonic() - start >= 0.25
        first.close()
        second.close()


def test_a_backlog_that_stays_full_is_a_timeout(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(0)
        target = Target.parse(f"unix:{tmp_path}/s")
        first = Connection(target, 5)

        with pytest.raises(Failed) as raised:
            Connection(target, 0.2)

        assert raised.value.name == "connect_timeout"
        first.close()


@pytest.mark.parametrize(
    "text, family, address",
    [
        ("127.0.0.1:80", socket.AF_INET, ("127.0.0.1", 80)),
        ("http://localhost:5000/", socket.AF_INET, ("localhost", 5000)),
        ("[::1]:80", socket.AF_INET6, ("::1", 80)),
        ("unix:/run/a.sock", socket.AF_UNIX, "/run/a.sock"),
        ("unix:///run/a.sock", socket.AF_UNIX, "/run/a.sock"),
    ],
)
def test_targets(text, family, address):
    target = Target.parse(text)

    assert (target.family, target.address) == (family, address)


@pytest.mark.parametrize("text", ["", "localhost", "host:http", ":80", "host:80/path"])
def test_what_is_no_target(text):
    with pytest.raises(ValueError, match="neither host:port nor unix:/path"):
        Target.parse(text)
