# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The websockets of a worker: they are watched, so that each gets a close frame when the worker stops.

Libraries (simple-websocket, engineio) take the socket of the connection from the environ and write frames on it. So
the socket itself is watched, whatever the library: from the answer 101 on, its bytes are frames. At a stop

1. the close frame 1001 (going away) is sent, between two frames of the app. What the app sends later is dropped, as
   if it had crossed the close frame on its way;
2. the client answers with a close frame of its own, and the app's library ends the connection as for any client that
   leaves. A client that does not answer is treated as gone: reading finds the end, writing fails;
3. a handler that goes on is ended.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from functools import cache
from weakref import WeakKeyDictionary

from gevent import monkey
from gevent.lock import RLock

#: A frame of opcode 8 whose payload is the status 1001 (RFC 6455, 5.5.1 and 7.4.1).
GOING_AWAY = b"\x88\x02\x03\xe9"

_CLOSE = 8
_LONGEST_HEAD = 64 * 1024  # of an answer; a longer one is none that begins a websocket

_watched: WeakKeyDictionary = WeakKeyDictionary()


class Frames:
    """Follows what a server sends on one connection, and knows whether it is between two frames."""

    def __init__(self):
        self.upgraded = False
        self.closed = False  # a close frame was sent
        self._head = b""  # of the answer or of a frame, as far as it has come
        self._left = 0  # bytes of the payload that are to come
        self._ordinary = False  # the answer is another one than 101

    @property
    def between(self) -> bool:
        return self.upgraded and not self._head and not self._left

    def feed(self, data) -> None:
        """Take note of bytes that were sent."""
        data = memoryview(data)
        while data and not self._ordinary:
            if self._left:
                skipped = min(self._left, len(data))
                self._left -= skipped
                data = data[skipped:]
            elif self.upgraded:
                data = self._frame(data)
            else:
                data = self._answer(data)

    def _answer(self, data: memoryview) -> memoryview:
        before = len(self._head)
        self._head += bytes(data[:_LONGEST_HEAD])
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            self._ordinary = len(self._head) > _LONGEST_HEAD
            return data[_LONGEST_HEAD:]
        status = self._head.split(None, 2)[1:2]
        self._head = b""
        self.upgraded = status == [b"101"]
        self._ordinary = not self.upgraded and status[:1] not in ([b"100"], [b"102"], [b"103"])
        return data[end + 4 - before :]

    def _frame(self, data: memoryview) -> memoryview:
        before = len(self._head)
        head = self._head + bytes(data[: 14 - before])
        size = 2
        if len(head) >= 2:
            length = head[1] & 0x7F
            extended = {126: 2, 127: 8}.get(length, 0)
            masked = 4 if head[1] & 0x80 else 0
            size = 2 + extended + masked
        if len(head) < size:
            self._head = head
            return data[len(head) - before :]
        self._head = b""
        self._left = int.from_bytes(head[2 : 2 + extended], "big") if extended else length
        self.closed |= head[0] & 0x0F == _CLOSE
        return data[size - before :]


class WebSocket:
    """The server's end of one connection that asks for a websocket; it is none until `upgraded`."""

    def __init__(self, sock):
        self.sock = sock
        self.sent = 0
        self._class = type(sock)
        self._frames = Frames()
        self._lock = RLock()
        self._leaves_since: float | None = None
        self._goodbye: bytes | None = None  # what of the close frame is to be sent
        self._deaf = False
        _watched[sock] = self
        sock.__class__ = _watched_class(self._class)

    @property
    def upgraded(self) -> bool:
        return self._frames.upgraded

    def unwatch(self) -> None:
        self.sock.__class__ = self._class
        _watched.pop(self.sock, None)

    def send(self, data, flags=0) -> int:
        """Send all of *data*, as a socket that blocks does; frames of several greenlets do not mix."""
        data = memoryview(data).cast("B")
        size = len(data)
        with self._lock:
            while data:
                if self._deaf:
                    raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
                if self._goodbye is not None:
                    return size
                sent = self._class.send(self.sock, data, flags)
                self._count(data[:sent])
                data = data[sent:]
                if not sent or self.sock.gettimeout() == 0:
                    break
        if self._leaves_since is not None:
            self._say_goodbye()
        return size - len(data)

    def _count(self, data) -> None:
        if self.upgraded:
            self.sent += len(data)
        self._frames.feed(data)

    def leave(self) -> float:
        """Send the close frame, as soon as it can be sent without waiting; returns for how many seconds it is due."""
        if self._leaves_since is None:
            self._leaves_since = time.monotonic()
        self._say_goodbye()
        return time.monotonic() - self._leaves_since

    def _say_goodbye(self) -> None:
        if not self._lock.acquire(blocking=False):
            return  # the app is sending
        try:
            if self._goodbye is None and self._frames.between and not self._frames.closed:
                self._goodbye = GOING_AWAY
            if self._goodbye:
                sent = self._class.send(self.sock, self._goodbye, timeout=0.0)
                self._goodbye = self._goodbye[sent:]
        except BlockingIOError:
            pass  # the client reads nothing
        except OSError:
            self._goodbye = b""  # it is gone
        finally:
            self._lock.release()

    def end_reading(self) -> None:
        """Have the app find the end of what the client sends, and no way to send anything."""
        if self._deaf:
            return
        self._deaf = True
        try:
            with monkey.get_original("socket", "socket")(fileno=os.dup(self.sock.fileno())) as same:
                same.shutdown(socket.SHUT_RD)
        except OSError:
            pass  # it is closed


class _Watched:
    __slots__ = ()

    def send(self, data, flags=0, **_options):
        return _watched[self].send(data, flags)

    def sendall(self, data, flags=0):
        _watched[self].send(data, flags)

    def sendmsg(self, buffers, *_options):
        return _watched[self].send(b"".join(buffers))


@cache
def _watched_class(kind: type) -> type:
    """*kind* of socket, gevent's or gevent's for TLS, whose bytes are watched; it has the same layout."""
    return type(kind.__name__, (_Watched, kind), {"__slots__": ()})
