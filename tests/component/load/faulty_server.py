# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A server that speaks as app/ does, and fails as it is told to.

`plan(number, path)` names the fault for the request with that number (from 0, in the order in
which they were read). It counts what it did, so that a test can compare.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path


class FaultyServer:
    def __init__(self, plan: Callable[[int, str], str], path: Path | None = None) -> None:
        self.plan = plan
        self.done: Counter[str] = Counter()  # faults, by name; "" = answered as it should be
        self.raced = 0  # requests that met a close race
        self.read = 0  # requests read up to the end of their head
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.connections: list[socket.socket] = []
        if path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(str(path))
            self.target = f"unix:{path}"
        else:
            self.listener = socket.socket()
            self.listener.bind(("127.0.0.1", 0))
            self.target = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.listener.listen(64)
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()

    def close(self) -> None:
        self.closing.set()
        self.refuse()
        for connection in self.connections:
            with_shutdown(connection)
        for thread in list(self.threads):
            thread.join(10)
            assert not thread.is_alive()

    def refuse(self) -> None:
        """Stop listening."""
        with_shutdown(self.listener)  # wakes accept(), which a close alone does not
        self.listener.close()

    def accept(self) -> None:
        while not self.closing.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            thread = threading.Thread(target=self.talk, args=(connection,))
            self.threads.append(thread)
            thread.start()

    def talk(self, connection: socket.socket) -> None:
        try:
            while self.one(connection):
                pass
        except OSError:
            pass  # the client went away
        finally:
            connection.close()

    def one(self, connection: socket.socket) -> bool:
        """Read and answer one request; return whether the connection goes on."""
        reader = Reader(connection)
        head = reader.until(b"\r\n\r\n").decode()
        if not head:
            return False
        with self.lock:
            number, self.read = self.read, self.read + 1
        path = head.split()[1]
        fault = self.plan(number, path)
        with self.lock:
            self.done[fault] += 1  # before the client can know
        goes_on = self.answer(connection, reader, head, path, fault)
        return goes_on and "connection: close" not in head.lower()

    def answer(self, connection: socket.socket, reader: Reader, head: str, path: str, fault: str) -> bool:
        if fault == "early_503":
            connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return False
        if fault == "reset_in_upload":
            connection.recv(100)
            reset(connection)
            return False
        body = reader.body(head)
        if fault == "refuse":
            self.refuse()
        elif fault == "reset":
            reset(connection)
            return False
        elif fault == "reset_late":
            time.sleep(1.5)
            reset(connection)
            return False
        elif fault == "close":
            return False
        elif fault == "hang":
            connection.recv(1)  # returns when the client gives up
            return False
        elif fault == "garbage":
            connection.sendall(b"SSH-2.0-something\r\n")
            return False

        pieces = document(path, body, wrong=fault == "wrong_body")
        status = fault.removeprefix("status_") if fault.startswith("status_") else "200"
        header = "B" if fault == "wrong_header" else "A"
        start = f"HTTP/1.1 {status} Something\r\nX-Release: {header}\r\n"
        sent = [line.partition(": ")[2] for line in head.split("\r\n") if line.startswith("X-Request-ID: ")]
        if fault != "no_id":
            start += f"X-Request-ID: {'other' if fault == 'other_id' else sent[0] if sent else f'made-{self.read}'}\r\n"
        if fault == "truncate_head":
            connection.sendall(start.encode())
            return False
        if fault == "no_length":
            connection.sendall(start.encode() + b"\r\n" + b"".join(pieces))
            return False
        if path.startswith("/stream"):
            start += "Transfer-Encoding: chunked\r\n\r\n"
            pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces] + [b"0\r\n\r\n"]
        else:
            start += f"Content-Length: {len(pieces[0])}\r\n\r\n"
            pieces = [pieces[0][:5], pieces[0][5:]]
        if path.startswith("/wait"):
            time.sleep(int(path.partition("=")[2]) / 1000)
        connection.sendall(start.encode())
        if fault == "no_last_chunk":
            pieces.pop()
        for number, piece in enumerate(pieces):
            if number == 1 and fault in ("truncate", "truncate_reset", "hang_in_answer"):
                if fault == "truncate_reset":
                    time.sleep(0.05)  # what was sent is to arrive before the reset does
                    reset(connection)
                elif fault == "hang_in_answer":
                    connection.recv(1)
                return False
            connection.sendall(piece)
        if fault == "extra_bytes":
            connection.sendall(b"and more")
        if fault == "race":
            # Closed with the next request unread, as a server does whose limit runs out just then.
            select.select([connection], [], [], 10)
            with self.lock:
                self.raced += bool(connection.recv(1, socket.MSG_PEEK))  # not the client's own end
        if fault == "idle_bytes":
            time.sleep(0.02)
            connection.sendall(b"HTTP/1.1 200 Again\r\n\r\n")
            time.sleep(0.2)
        return fault not in ("no_last_chunk", "race", "idle_close", "extra_bytes", "idle_bytes")


class Reader:
    """Reads a request."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.buffer = b""

    def until(self, end: bytes) -> bytes:
        """Return what comes up to and with `end`, or nothing at the end of the connection."""
        while end not in self.buffer:
            data = self.connection.recv(4096)
            if not data:
                return b""
            self.buffer += data
        part, _, self.buffer = self.buffer.partition(end)
        return part + end

    def exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            data = self.connection.recv(4096)
            if not data:
                raise ConnectionError
            self.buffer += data
        part, self.buffer = self.buffer[:size], self.buffer[size:]
        return part

    def body(self, head: str) -> bytes:
        for line in head.lower().split("\r\n"):
            if line.startswith("content-length:"):
                return self.exactly(int(line.split()[1]))
        if "transfer-encoding: chunked" not in head.lower():
            return b""
        parts = []
        while size := int(self.until(b"\r\n"), 16):
            parts.append(self.exactly(size))
            self.exactly(2)
        self.exactly(2)
        return b"".join(parts)


def document(path: str, body: bytes, wrong: bool) -> list[bytes]:
    """Return what app/ answers; a list for a stream."""
    words = dict(pair.split("=") for pair in path.partition("?")[2].split("&") if pair)
    if path.startswith("/wait"):
        said = {"waited_ms": int(words["ms"]) + wrong}
    elif path.startswith("/upload"):
        said = {"bytes": len(body), "sha256": hashlib.sha256(body + b"x" * wrong).hexdigest()}
    elif path.startswith("/predict"):
        said = {"input": {} if wrong else json.loads(body), "late_probability": 0.5}
    elif path.startswith("/stream"):
        chunks = int(words["chunks"])
        lines = [{"chunk": number + wrong} for number in range(chunks)] + [{"chunks": chunks}]
        return [json.dumps(line).encode() + b"\n" for line in lines]
    else:
        said = {"service": "other" if wrong else "scoring"}
    return [json.dumps(said).encode()]


def reset(connection: socket.socket) -> None:
    """Close with a reset instead of a FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def with_shutdown(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
