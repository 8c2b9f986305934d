# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A gevent worker that loses no request when it is stopped; a thin layer over gunicorn's GeventWorker.

What gunicorn 27 loses, and what is done about it here:

1. A connection that was accepted, but whose greenlet had not started when the listener closed, failed on the
   closed listener's getsockname(). The name is read beforehand.
2. A worker whose master died ended at once, with everything in flight. It drains.
3. Idle keep-alive connections held a stop back for up to `keepalive` seconds. They are closed after a short
   linger; a request that arrives in it is answered, with Connection: close.
4. A single worker accepted up to 100 connections at a time, away from its sibling instance. It accepts one, or
   a few when it is busy.

And fairness. A connection whose next request is already there was served again at once, with new connections and
all others waiting: 50 clients that each ask again at once for 5 ms of computation starved some of their own and
every new connection for as long as the measurement ran (6 s). Now they take turns, and new connections come in.

This file depends on internals of gunicorn: see runtime.TESTED_GUNICORN.
"""

from __future__ import annotations

import faulthandler
import os
import socket
import sys
import time
import traceback
from functools import partial

import gevent
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn.sock import ssl_context
from gunicorn.workers.ggevent import GeventWorker

#: Seconds for which idle keep-alive connections stay open after a stop: who sends often enough is told to
#: go elsewhere in an answer, and only who pauses longer meets a closed connection.
LINGER = 2.0

#: The longest that requests are served without looking for what else has arrived (seconds). Looking after each
#: one would cost half the throughput of very short requests.
MAX_UNPOLLED = 0.002

#: The most connections accepted at a time.
MAX_ACCEPT = 16

#: How often a draining worker looks whether it is done (seconds).
_DRAIN_STEP = 0.1

#: gunicorn aborts a worker up to a second after `timeout`, and kills it a second later. In between, a worker that
#: could not run its abort handler (one call into C that goes on) has its stack dumped without its help (seconds).
_WATCHDOG_DELAY = 0.9


class _Listener:
    """Stands for a listener that may be closed already: all that handlers ask it for is its name."""

    def __init__(self, listener):
        self._name = listener.getsockname()

    def getsockname(self):
        return self._name


class _Connection:
    """What a worker knows about one connection: whether it waits for a request, and which one it serves."""

    __slots__ = ("client", "request", "requests", "since", "unreader", "waiting", "_chunk")

    def __init__(self, client):
        self.client = client
        self.request = None
        self.requests = 0
        self.since = 0.0
        self.unreader = None
        self.waiting = False

    def begin(self, request) -> None:
        self.request = request
        self.since = time.monotonic()
        self.requests += 1
        if self.unreader is None:
            # From now on see every read: a connection that has begun to send a request is not idle.
            self.unreader = request.unreader
            self._chunk = self.unreader.chunk
            self.unreader.chunk = self._read

    def _read(self, size_hint=None):
        data = self._chunk(size_hint)
        self.waiting = False
        return data

    def await_request(self) -> None:
        self.waiting = not self.unreader.buf.getbuffer().nbytes

    def close_if_idle(self) -> None:
        """Let a waiting read see the end of the stream.

        Unlike ending the greenlet, this cannot lose a request that has just arrived: what the kernel has
        received is still read, and answered, before the end.
        """
        if self.waiting:
            try:
                with socket.socket(fileno=os.dup(self.client.fileno())) as same:
                    same.shutdown(socket.SHUT_RD)
            except OSError:
                pass

    def forget(self) -> None:
        if self.unreader is not None:
            del self.unreader.chunk  # or the two would keep each other alive
            self._chunk = self.unreader = None

    def __str__(self):
        if self.request is None:
            return "a connection without a complete request"
        seconds = time.monotonic() - self.since
        # Without the query: it may hold secrets.
        return f"{self.request.method} {self.request.path} after {seconds:.1f} s"


class _KeepAlive:
    """Take turns, then wait for the next request for `keepalive` seconds, then silently give up (as gevent.Timeout(s, False))."""

    __slots__ = ("connection", "timeout", "worker")

    def __init__(self, worker, connection):
        self.worker = worker
        self.connection = connection

    def __enter__(self):
        if self.connection.requests:
            self.worker.let_others_go_first()
            self.connection.await_request()
        self.timeout = gevent.Timeout.start_new(self.worker.cfg.keepalive, False)

    def __exit__(self, kind, value, traceback):
        self.connection.waiting = False
        self.timeout.close()
        return value is self.timeout


class _Server(StreamServer):
    """A server whose worker decides how many connections it accepts at a time."""

    worker = None

    @property
    def max_accept(self):
        return self.worker.accept_at_most() if self.worker else 1


class LosslessGeventWorker(GeventWorker):
    """See the module; everything else is gunicorn's worker."""

    lossless = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.connections: set[_Connection] = set()
        self._stop = None
        self._polled = 0.0
        self._served = 0

    def run(self):
        self._stop = Event()
        tls = {"ssl_context": ssl_context(self.cfg)} if self.cfg.is_ssl else {}
        servers = []
        for listener in self.sockets:
            listener.setblocking(1)
            handle = partial(self.handle, _Listener(listener))
            server = _Server(listener, handle=handle, spawn=Pool(self.worker_connections), **tls)
            server.worker = self
            server.start()
            servers.append(server)

        while self.alive:
            self.notify()
            self._stop.wait(1.0)
        self._drain(servers)

    def _drain(self, servers):
        for server in servers:
            handle = server.handle
            server.close()
            server.handle = handle  # TLS connections that were just accepted still look for it
        start = time.monotonic()
        # A little before the master kills: to be able to say what was cut.
        grace = self.cfg.graceful_timeout - min(0.5, self.cfg.graceful_timeout / 10)
        linger = min(LINGER, grace / 2)
        beat = 0.0
        while any(len(server.pool) for server in servers):
            elapsed = time.monotonic() - start
            if elapsed >= grace:
                self._report("Graceful timeout, cut off: %s")
                for server in servers:
                    server.pool.kill(block=True, timeout=0.2)
                return
            if elapsed >= linger:
                for connection in tuple(self.connections):
                    connection.close_if_idle()
            if elapsed >= beat:
                beat = elapsed + 1.0
                self.notify()
            gevent.sleep(_DRAIN_STEP)

    def _report(self, text):
        for connection in tuple(self.connections):
            if not connection.waiting:
                self.log.warning(text, connection)

    def accept_at_most(self):
        """How many connections to accept now: one, so that a burst is shared with the sibling instance.

        But a round of requests can take long, and with one new connection for each round they would queue up
        without end: half as many as were served in the last round.
        """
        served, self._served = self.nr - self._served, self.nr
        return max(1, min(MAX_ACCEPT, served // 2))

    def let_others_go_first(self):
        """Between two requests of one connection: serve what is ready, and now and then see what has arrived."""
        if time.monotonic() - self._polled < MAX_UNPOLLED:
            gevent.sleep(0)  # goes to the end of the queue, but the event loop may run the queue for long
        else:
            gevent.sleep(1e-9)  # a timer: the event loop has looked at all sockets when it wakes us
            self._polled = time.monotonic()

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
        self._report("Worker timeout, cut off: %s")
        self.log.error("Worker blocked, it is at:\n%s", "".join(traceback.format_stack(frame)))
        super().handle_abort(sig, frame)

    def handle(self, listener, client, addr):
        connection = gevent.getcurrent().connection = _Connection(client)
        self.connections.add(connection)
        try:
            super().handle(listener, client, addr)
        finally:
            self.connections.discard(connection)
            connection.forget()

    def timeout_ctx(self):
        return _KeepAlive(self, gevent.getcurrent().connection)

    def handle_request(self, listener_name, req, sock, addr):
        connection = gevent.getcurrent().connection
        connection.begin(req)
        try:
            return super().handle_request(listener_name, req, sock, addr)
        finally:
            connection.request = None
            if not self.alive:  # max_requests
                self._stop.set()
