# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One HTTP/1.1 request over a raw socket, whose every way to fail has a name.

HTTP libraries retry, reconnect and translate errors. A client that counts lost requests may do
none of that, so this one speaks to the socket itself. Standard library only.

Error classes (`Failed.name`):

    connect_refused, connect_reset, connect_timeout, connect_missing (no such unix socket),
    connect_failed (anything else)
    reset_before_answer, closed_before_answer, timeout_before_answer   not one byte came back
    truncated_answer, timeout_in_answer                                some bytes, not all
    malformed_answer, extra_bytes                                      not what HTTP allows
    client_resources                                                   this client ran out of
                                                                       ports, files or memory

Whoever checks the answer adds `status_<code>`, `wrong_body` and `wrong_header`.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

# A close race is over at once: the server's kernel refuses what nobody will read. A connection
# that breaks later than this (seconds) took the request down with it.
RACE_WINDOW = 1.0
# How long to wait for the reset that follows a FIN if the request came too late (seconds).
RESET_WAIT = 0.2

OWN_LIMITS = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}


class Failed(Exception):
    """A request that did not get its answer."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(f"{name}: {what}")
        self.name = name
        self.what = what


class CloseRace(Exception):
    """The server closed a kept-alive connection before it read the request.

    HTTP cannot avoid this; every client has to send such a request again, on a new connection.
    """


@dataclass(frozen=True)
class Target:
    """Where the service listens: `host:port`, `http://host:port` or `unix:/path`."""

    family: socket.AddressFamily
    address: str | tuple[str, int]
    host: str

    @classmethod
    def parse(cls, text: str) -> Target:
        """Return the target that `text` names; raise ValueError if it names none."""
        if text.startswith("unix:"):
            path = "/" + text[len("unix:") :].lstrip("/")
            return cls(socket.AF_UNIX, path, "localhost")
        place = text.removeprefix("http://").rstrip("/")
        host, colon, port = place.rpartition(":")
        if not (colon and host and port.isdecimal() and "/" not in host):
            raise ValueError(f"{text!r} is neither host:port nor unix:/path")
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return cls(family, (host, int(port)), place)


@dataclass
class Request:
    """What to send. `body` is a list of pieces, each sent after `gap` seconds."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: list[bytes] = field(default_factory=list)
    gap: float = 0.0
    chunked: bool = False  # the body's length is not told beforehand
    planned: float = 0.0  # seconds that the answer takes if nothing holds it up
    check: Callable[[Answer], str | None] = lambda _answer: None  # what is wrong with the body

    def head(self, host: str, keep: bool) -> bytes:
        """Return the request line and the headers."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked")
        elif self.body or self.method == "POST":
            lines.append(f"Content-Length: {sum(map(len, self.body))}")
        if not keep:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode()

    def pieces(self) -> Iterable[bytes]:
        """Return the body as it goes over the wire."""
        if not self.chunked:
            return self.body
        pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in self.body]
        return [*pieces[:-1], b"".join(pieces[-1:]) + b"0\r\n\r\n"]


@dataclass
class Answer:
    """What came back, complete."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes = b""

    @property
    def closes(self) -> bool:
        """Whether the server said that it closes the connection."""
        return "close" in self.headers.get("connection", "").lower()


class Connection:
    """A connection to the target, for one request or for many, one after the other."""

    def __init__(self, target: Target, timeout: float) -> None:
        """Connect within `timeout` seconds or raise Failed."""
        self.target = target
        self.answers = 0  # how many requests were answered on this connection
        self.buffer = b""
        self.received = 0  # bytes of the answer at hand
        self.deadline = 0.0
        self.broken: OSError | None = None
        self.sock = connect(target, timeout)

    def close(self) -> None:
        """Close it."""
        self.sock.close()

    def is_open(self) -> bool:
        """Return whether the server left this idle connection open, as far as one can know.

        Raise Failed if it sent something that nobody had asked for.
        """
        self.sock.setblocking(False)
        try:
            data = self.sock.recv(4096, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if data:
            raise Failed("extra_bytes", f"on an idle connection: {data[:40]!r}")
        return False

    def exchange(self, request: Request, keep: bool, timeout: float) -> Answer:
        """Send a request and return its answer, within `timeout` seconds.

        Raise Failed, or CloseRace if the request may be sent again. Either ends the connection.
        """
        start = time.monotonic()
        self.deadline = start + timeout
        self.received = 0
        self.broken = None
        try:
            complete = self.send(request, keep)
            answer = self.read_answer(request.method)
            if self.buffer:
                raise Failed("extra_bytes", f"{len(self.buffer)} bytes after the answer")
        except Failed as failure:
            raced = self.answers and not self.received and self.was_not_read(failure)
            self.close()
            if raced and time.monotonic() - start <= RACE_WINDOW + RESET_WAIT:
                raise CloseRace from failure
            raise
        except BaseException:
            self.close()
            raise
        self.answers += 1
        if not keep or answer.closes or not complete:
            self.close()
        return answer

    @property
    def closed(self) -> bool:
        """Whether this side closed it."""
        return self.sock.fileno() < 0

    def send(self, request: Request, keep: bool) -> bool:
        """Send a request; return whether all of it went out.

        A server may answer before it has read everything, and may close then. What it said counts
        for more than the broken pipe, so neither ends the request here.
        """
        data = request.head(self.target.host, keep)
        pieces = list(request.pieces())
        if not request.gap:
            data += b"".join(pieces)
            pieces = []
        if not self.write(data):
            return False
        for piece in pieces:
            if select.select([self.sock], [], [], request.gap)[0]:
                return False  # an early answer, or the end
            if not self.write(piece):
                return False
        return True

    def write(self, data: bytes) -> bool:
        """Send `data`; return False if the server does not take it any more."""
        try:
            self.sock.settimeout(self.remaining())
            self.sock.sendall(data)
        except TimeoutError:
            raise Failed("timeout_before_answer", "the request was not read in time") from None
        except OSError as error:
            self.broken = error
            return False
        return True

    def read_answer(self, method: str) -> Answer:
        """Read one complete answer."""
        while True:
            answer = self.read_head()
            if answer.status >= 200:
                break
        headers = answer.headers
        if method == "HEAD" or answer.status in (204, 304):
            pass
        elif "chunked" in headers.get("transfer-encoding", "").lower():
            answer.body = self.read_chunks()
        elif "content-length" in headers:
            answer.body = self.read_exactly(number(headers["content-length"], 10))
        else:
            raise Failed("malformed_answer", "an answer whose end cannot be known")
        return answer

    def read_head(self) -> Answer:
        """Read a status line and headers."""
        version, _, rest = self.read_line().partition(" ")
        code = rest[:3]
        if version not in ("HTTP/1.0", "HTTP/1.1") or not (code.isdecimal() and len(code) == 3):
            raise Failed("malformed_answer", f"no status line: {version[:40]!r}")
        headers: dict[str, str] = {}
        while line := self.read_line():
            name, colon, value = line.partition(":")
            if not colon:
                raise Failed("malformed_answer", f"no header: {line[:40]!r}")
            headers[name.strip().lower()] = value.strip()
        return Answer(int(code), headers)

    def read_chunks(self) -> bytes:
        """Read a chunked body. Without its last chunk it is no complete answer."""
        body = []
        while size := number(self.read_line().partition(";")[0], 16):
            body.append(self.read_exactly(size))
            if self.read_exactly(2) != b"\r\n":
                raise Failed("malformed_answer", "a chunk that does not end where it should")
        while self.read_line():
            pass  # trailers
        return b"".join(body)

    def read_line(self) -> str:
        """Read up to the next CRLF."""
        while b"\r\n" not in self.buffer:
            if len(self.buffer) > 65536:
                raise Failed("malformed_answer", "a line without end")
            self.receive()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line.decode("latin-1")

    def read_exactly(self, size: int) -> bytes:
        """Read `size` bytes."""
        while len(self.buffer) < size:
            self.receive()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def receive(self) -> None:
        """Add what comes next to the buffer, or raise Failed."""
        began = self.received > 0
        try:
            self.sock.settimeout(self.remaining())
            data = self.sock.recv(65536)
        except TimeoutError:
            if began:
                raise Failed("timeout_in_answer", f"after {self.received} bytes") from None
            raise Failed("timeout_before_answer", "no answer in time") from None
        except OSError as error:
            self.broken = error
            data = b""
        if not data:
            how = f"{self.broken.strerror}" if self.broken else "the server closed the connection"
            if began:
                raise Failed("truncated_answer", f"{how} after {self.received} bytes")
            raise Failed("reset_before_answer" if self.broken else "closed_before_answer", how)
        self.received += len(data)
        self.buffer += data

    def remaining(self) -> float:
        """Return the seconds that are left; 0 would mean non-blocking."""
        return max(self.deadline - time.monotonic(), 0.001)

    def was_not_read(self, failure: Failed) -> bool:
        """Return whether the server's kernel threw the request away unread.

        It answers with a reset what arrives after the close, and resets what was still unread at
        the close. A server that had read the request and then dropped it closes without a reset:
        such a request may have had its effect, and is lost.
        """
        if failure.name == "reset_before_answer":
            return True
        if failure.name != "closed_before_answer" or self.target.family == socket.AF_UNIX:
            return False  # a unix socket tells at once: EPIPE or ECONNRESET, no FIN before
        poll = select.poll()
        poll.register(self.sock, 0)
        return any(event & select.POLLERR for _, event in poll.poll(RESET_WAIT * 1000))


def connect(target: Target, timeout: float) -> socket.socket:
    """Return a connected socket or raise Failed."""
    try:
        sock = socket.socket(target.family, socket.SOCK_STREAM)
    except OSError as error:
        raise Failed("client_resources", str(error)) from None
    try:
        if target.family == socket.AF_UNIX:
            # Python's own timeout makes the socket non-blocking, and a non-blocking connect to a
            # unix socket whose backlog is full fails at once where any other client waits.
            seconds = struct.pack("ll", int(timeout), int(timeout % 1 * 1_000_000))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
        else:
            sock.settimeout(timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect(target.address)
    except OSError as error:
        sock.close()
        raise Failed(connect_error(error), str(error)) from None
    return sock


def connect_error(error: OSError) -> str:
    """Return the error class of a connect that failed."""
    if isinstance(error, (TimeoutError, BlockingIOError)):
        return "connect_timeout"
    if isinstance(error, ConnectionRefusedError):
        return "connect_refused"
    if isinstance(error, ConnectionResetError):
        return "connect_reset"
    if isinstance(error, FileNotFoundError):
        return "connect_missing"
    return "client_resources" if error.errno in OWN_LIMITS else "connect_failed"


def number(text: str, base: int) -> int:
    """Return the size that `text` says, or raise Failed."""
    try:
        value = int(text.strip(), base)
    except ValueError:
        value = -1
    if value < 0:
        raise Failed("malformed_answer", f"no size: {text[:40]!r}")
    return value
