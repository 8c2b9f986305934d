# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A gevent worker that loses no request when it is stopped; a thin layer over gunicorn's GeventWorker.

What gunicorn 27 loses, and what is done about it here:

1. A connection that was accepted, but whose greenlet had not started when the listener closed, failed on the
   closed listener's getsockname(). The name is read beforehand.
2. A worker whose master died ended at once, with everything in flight. It drains.
3. Idle keep-alive connections held a stop back for up to `keepalive` seconds. They are closed after a short
   linger; a request that arrives in it is answered, with Connection: close.
4. A single worker accepted up to 100 connections at a time, away from its sibling instance. It accepts one, and
   after each request another: who is busy takes as few as who is not.
5. An answer that ends its connection, to a request whose body the app had not read or whose head was refused, was reset
   on its way: the kernel does so when a socket is closed with unread data. The rest of the request is read away.
6. A view that ended in SystemExit, and the request that a worker timeout ended, got no answer and no line in the
   log. They get a 500.
7. A TLS handshake had no time limit. It has that of a request that is being read.
8. A websocket held a stop back for the whole graceful timeout, was cut without a close frame, and left no access line.
   It gets its close frame at once, a limit of its own, and a line at its end (websockets.py).

An app that wants to know of a stop itself finds an event in each request's environ: STOPPING.

And fairness. A connection whose next request is already there was served again at once, with new connections and
all others waiting: 50 clients that each ask again at once for 5 ms of computation starved some of their own and
every new connection for as long as the measurement ran (6 s). Now each waits for the event loop to look at all
sockets before its next request: they take turns, and new connections come in.

This file depends on internals of gunicorn, see runtime.TESTED_GUNICORN, and of gevent's server.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import socket
import sys
import time
import traceback
from datetime import datetime
from functools import partial
from types import SimpleNamespace

import gevent
import gevent.socket
from gevent import monkey
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import ParseException
from gunicorn.sock import ssl_context
from gunicorn.workers.base_async import AsyncWorker
from gunicorn.workers.ggevent import GeventWorker

from . import phrases, request_id, shortcuts
from .websockets import WebSocket

#: Seconds for which idle keep-alive connections stay open after a stop: who sends often enough is told to
#: go elsewhere in an answer, and only who pauses longer meets a closed connection.
LINGER = 2.0

#: A websocket whose client does not answer the close frame is treated as left after LINGER, and its handler is ended
#: after this (seconds): clients connect again, so they lose less than a request that is cut off.
WEBSOCKET_LIMIT = 5.0

#: In the environ of each request: an Event of gevent's that is set when the worker stops.
STOPPING = "pygun.stopping"

#: How long a worker waits for the request of a connection that it has accepted before it accepts another (seconds).
HESITATION = 0.001

#: The rest of a request that nobody has read is read away for so long, and no longer than this without a byte of it
#: (seconds).
REST = 30.0
REST_PAUSE = 5.0

#: A request that comes in bytes is given this much longer than `keepalive` to become whole (seconds).
_PATIENCE = 2

#: How often a draining worker looks whether it is done (seconds).
_DRAIN_STEP = 0.1

#: gunicorn aborts a worker up to a second after `timeout`, and kills it a second later. In between, a worker that
#: could not run its abort handler (one call into C that goes on) has its stack dumped without its help (seconds).
_WATCHDOG_DELAY = 0.7


class _Server(StreamServer):
    """Accepts connections one by one, so that a burst of them is shared with the sibling instance.

    For gunicorn's handlers it stands for the listener, which may be closed already: all that they ask it for is its name.

    Accepting takes less than a tenth of the time of a short request: who comes first could have accepted all before
    the first of them asks for something, and be alone with their work for as long as they live.
    """

    max_accept = 1
    _more = False  # there may be another connection
    _unheard = False  # the last one has not asked for anything yet
    _hesitates = False

    def __init__(self, worker, listener, **tls):
        super().__init__(listener, handle=partial(worker.handle, self), spawn=Pool(worker.worker_connections), **tls)

    def getsockname(self):
        return self.address

    def _do_read(self):
        if self._unheard:
            self._unheard = False
            self._hesitates = True
            self.stop_accepting()
            self._timer = self.loop.timer(HESITATION)
            self._timer.start(self._go_on)
        else:
            super()._do_read()

    def do_read(self):
        accepted = super().do_read()
        self._more = self._unheard = accepted is not None
        return accepted

    def _go_on(self) -> None:
        self._hesitates = False
        self._start_accepting_if_started()

    def heard(self) -> None:
        """A new connection has asked for something, or is gone."""
        self._unheard = False
        if self._hesitates:
            self._go_on()

    def accept_another(self) -> None:
        """Called before each request but a connection's first: a round of many would let those who are new wait for long."""
        if self._more and not self.closed:
            self._more = False
            super()._do_read()


class _Ended(Exception):
    """Thrown into a connection that waits for a request."""


class _Connection:
    """The state of one connection in a worker: whether it waits for a request, and which one it serves.

    As a context (gunicorn's timeout_ctx) it is the time in which the next request is read.
    """

    __slots__ = (
        "client",
        "ended",
        "greenlet",
        "looks",
        "pending",
        "readable",
        "request",
        "server",
        "since",
        "unreader",
        "waiting",
        "websocket",
    )

    def __init__(self, server: _Server, client):
        self.server = server
        self.client = client
        self.greenlet = gevent.getcurrent()
        self.ended = False
        self.looks = 0  # how often it was seen reading a request, or before the first one; -1: it does neither
        self.pending = getattr(client, "pending", None)  # of TLS: bytes that are decrypted and not read yet
        self.readable = None
        self.request = None
        self.unreader = None
        self.since = 0.0
        self.waiting = False
        self.websocket: WebSocket | None = None

    def __enter__(self):
        self.looks = 0
        if self.unreader is not None:
            self._take_turn()

    def __exit__(self, *_exception):
        self.looks = -1

    def _take_turn(self) -> None:
        """Let the event loop look at all sockets before the next request of this one is read."""
        if self.unreader.buf.getbuffer().nbytes or (self.pending and self.pending()):
            gevent.sleep(1e-9)  # it is here already; the loop has looked when a timer wakes us
        else:
            if self.readable is None:
                self.readable = gevent.get_hub().loop.io(self.client.fileno(), 1)
            self.waiting = True
            try:
                gevent.socket.wait(self.readable)
            except _Ended:
                if not self._has_something_to_read():
                    raise StopIteration from None
            finally:
                self.waiting = False
        self.server.accept_another()

    def begin(self, request) -> None:
        self.looks = -1
        self.request = request
        if self.unreader is None:
            self.unreader = request.unreader
            self.server.heard()
        self.since = time.monotonic()
        if self.ended:
            request.force_close()

    def look(self, keepalive: int) -> None:
        """Called once a second; ends a connection that has been reading for longer than *keepalive* seconds."""
        if self.looks >= 0:
            self.looks += 1
            if self.looks > keepalive:
                self.end(self.looks > keepalive + _PATIENCE)

    def end(self, though_something_comes: bool = False) -> None:
        """Let it end, but for a request that has just arrived: that is answered, with Connection: close.

        One that waits is woken, and looks itself whether there is something. One that reads sees the end of the
        stream, and must have nothing to read: of a body, nothing but what is here already would be read.
        """
        self.ended = True
        if self.waiting:
            gevent.socket.cancel_wait(self.readable, _Ended())
        elif though_something_comes or not self._has_something_to_read():
            with contextlib.suppress(OSError), self._same_socket() as same:
                same.shutdown(socket.SHUT_RD)

    def _has_something_to_read(self) -> bool:
        """Whether the kernel has bytes for it; the end of the stream is none."""
        try:
            with self._same_socket() as same:
                return bool(same.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False

    def _same_socket(self):
        """Below gevent and TLS."""
        return monkey.get_original("socket", "socket")(fileno=os.dup(self.client.fileno()))

    def finish(self) -> None:
        """The request is answered, or its websocket closed."""
        self.request = None
        if self.websocket is not None:
            self.websocket.unwatch()
            self.websocket = None

    def close(self) -> None:
        if self.unreader is None:
            self.server.heard()
        if self.readable is not None:
            self.readable.close()

    def __str__(self):
        if self.request is None:
            return "a connection without a complete request"
        seconds = time.monotonic() - self.since
        # Without the query: it may hold secrets.
        return f"{self.request.method} {self.request.path} after {seconds:.1f} s"

    @property
    def request_id(self) -> str | None:
        context = self.greenlet.gr_context
        return context.get(request_id.current) if self.request is not None and context is not None else None


class LosslessGeventWorker(GeventWorker):
    """See the module; everything else is gunicorn's worker."""

    lossless = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.connections: set[_Connection] = set()
        self._stop = self._stopping = None

    def load_wsgi(self):
        super().load_wsgi()
        self._stopping = Event()
        app = self.wsgi

        def with_event(environ, start_response):
            environ[STOPPING] = self._stopping
            if environ.get("HTTP_UPGRADE", "").lower() == "websocket" and environ["SERVER_PROTOCOL"] == "HTTP/1.1":
                return self._serve_websocket(app, environ, start_response)
            return app(environ, start_response)

        self.wsgi = with_event

    def run(self):
        shortcuts.take(self.cfg)
        self._stop = Event()
        tls = {}
        if self.cfg.is_ssl:
            at_once = self.cfg.do_handshake_on_connect  # or in AsyncWorker.handle
            tls = {"ssl_context": ssl_context(self.cfg), "do_handshake_on_connect": at_once}
        servers = []
        for listener in self.sockets:
            listener.setblocking(1)
            server = _Server(self, listener, **tls)
            server.start()
            servers.append(server)

        while self.alive:
            try:
                self._beat(self.cfg.keepalive or None)
                self._stop.wait(1.0)
            except (SystemExit, KeyboardInterrupt):  # from any greenlet of the app, or a signal handler of its own
                if not self.alive:
                    raise
                self.log.warning("The app has called sys.exit() beside a request, draining (pid: %s)", self.pid)
                self.stop()
        self._drain(servers)

    def _drain(self, servers):
        for server in servers:
            handle = server.handle
            server.close()
            server.handle = handle  # TLS connections that were just accepted still look for it
        self._stopping.set()
        start = time.monotonic()
        # A little before the master kills: to be able to say what was cut.
        grace = self.cfg.graceful_timeout - min(0.5, self.cfg.graceful_timeout / 10)
        linger = min(LINGER, grace / 2)
        most = max(0, int(grace) - _PATIENCE)
        keepalive = min(self.cfg.keepalive or most, most)
        beat = 0.0
        while any(len(server.pool) for server in servers):
            elapsed = time.monotonic() - start
            if elapsed >= grace:
                self._report("Graceful timeout, cut off: %s")
                for server in servers:
                    server.pool.kill(block=True, timeout=0.2)
                return
            self._close_websockets(linger, min(WEBSOCKET_LIMIT, grace * 3 / 4))
            if elapsed >= linger:
                for connection in tuple(self.connections):
                    if connection.waiting:
                        connection.end()
            if elapsed >= beat:
                beat = elapsed + 1.0
                self._beat(keepalive)
            gevent.sleep(_DRAIN_STEP)

    def _close_websockets(self, linger, limit):
        for connection in tuple(self.connections):
            websocket = connection.websocket
            if websocket is None or not websocket.upgraded:
                continue
            since = websocket.leave()
            if since >= linger:
                websocket.end_reading()
            if since >= limit:
                self._tell("The websocket did not end, cut off: %s", connection)
                websocket.unwatch()
                connection.websocket = None
                connection.greenlet.kill(block=False)

    def _beat(self, keepalive):
        """Once a second. Without *keepalive* nothing limits how long a connection reads, as in gunicorn."""
        self.notify()
        if keepalive is not None:
            for connection in tuple(self.connections):
                connection.look(keepalive)

    def _report(self, text):
        for connection in tuple(self.connections):
            if not connection.waiting:
                self._tell(text, connection)

    def _tell(self, text, connection):
        request_id.run_with(connection.request_id, self.log.warning, text, connection)

    def notify(self):
        self.tmp.notify()
        if self.cfg.timeout:
            faulthandler.dump_traceback_later(self.cfg.timeout + _WATCHDOG_DELAY, file=sys.__stderr__)
        if self.alive and self.ppid != os.getppid():
            self.log.warning("The master is gone, draining (pid: %s)", self.pid)
            self.stop()

    def stop(self):
        """Accept nothing more, finish what is in flight."""
        self.alive = False
        if self._stop is not None:
            self._stop.set()

    def handle_exit(self, _sig, _frame):
        self.stop()

    def handle_abort(self, sig, frame):
        faulthandler.cancel_dump_traceback_later()
        self._report(f"{phrases.CUT_OFF} %s")
        self.log.error(f"{phrases.WORKER_BLOCKED}\n%s", "".join(traceback.format_stack(frame)))
        super().handle_abort(sig, frame)

    def handle(self, server, client, addr):
        connection = gevent.getcurrent().connection = _Connection(server, client)
        self.connections.add(connection)
        try:
            super().handle(server, client, addr)
        finally:
            self.connections.discard(connection)
            connection.close()

    def handle_http2(self, *arguments, **options):
        gevent.getcurrent().connection.looks = -1
        super().handle_http2(*arguments, **options)

    def timeout_ctx(self):
        return gevent.getcurrent().connection

    def handle_request(self, listener_name, req, sock, addr):
        connection = gevent.getcurrent().connection
        connection.begin(req)
        try:  # not GeventWorker's, which lets SystemExit pass as an answer
            return AsyncWorker.handle_request(self, listener_name, req, sock, addr)
        except gevent.GreenletExit:  # the graceful timeout is over
            raise StopIteration from None
        except StopIteration:
            self._read_rest(req, sock)
            raise
        finally:
            connection.finish()
            if not self.alive:  # max_requests
                self._stop.set()

    def _serve_websocket(self, app, environ, start_response):
        """Call *app* with a request that asks for a websocket; once it has one, there is nothing to answer any more."""
        connection = gevent.getcurrent().connection
        websocket = connection.websocket = WebSocket(environ["gunicorn.socket"])
        begun = datetime.now()
        try:
            answer = app(environ, start_response)
            if websocket.upgraded:
                if hasattr(answer, "close"):
                    answer.close()
                raise StopIteration  # or gunicorn would send an answer between the frames
            return answer
        except (StopIteration, OSError):
            raise
        except (Exception, SystemExit):
            if not websocket.upgraded:
                raise
            self.log.exception("Error handling a websocket")
            raise StopIteration from None
        finally:
            if websocket.upgraded:
                answered = SimpleNamespace(
                    status="101 Switching Protocols",
                    status_code=101,
                    headers=[],
                    headers_sent=True,
                    sent=websocket.sent,
                    response_length=None,
                )
                self.log.access(answered, connection.request, environ, datetime.now() - begun)

    def handle_error(self, req, client, addr, exc):
        if isinstance(exc, gevent.GreenletExit):
            return  # nobody has asked
        super().handle_error(req, client, addr, exc)
        self._read_rest(req, client, isinstance(exc, ParseException) and getattr(req, "body", None) is None)

    @staticmethod
    def _read_rest(req, client, is_refused=False):
        """What nobody has read of a request, before the connection is closed. Of one that *is_refused* nobody knows its length."""
        if not (is_refused or _has_rest(req)):
            return
        end = time.monotonic() + REST
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_WR)
            client.settimeout(REST_PAUSE)
            while time.monotonic() < end and client.recv(65536):
                pass


def _has_rest(req) -> bool:
    """Whether the app may have left something of the request's body."""
    reader = getattr(getattr(req, "body", None), "reader", None)
    if isinstance(reader, ChunkedReader):
        return reader.parser is not None
    return getattr(reader, "length", 0) > 0
