# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The id of a request: from its X-Request-ID, or made here; every log line that the request causes has it.

* the app finds it where a client would have put it: `request.headers["X-Request-ID"]`;
* the caller gets it back in the response's X-Request-ID, unless the app sets that header itself;
* greenlets, threads and tasks of an executor that a request starts carry its id. Only the id: copying the whole
  context would hand Flask's request and app to them as well.
"""

from __future__ import annotations

import contextvars
import itertools
import os
import re
import secrets
import sys
import threading

HEADER = "X-Request-ID"
ENVIRON = "HTTP_X_REQUEST_ID"

#: Ids that are accepted from a client: without characters that break a line, and not long enough to fill a disk.
SANE = re.compile(r"[A-Za-z0-9._~+/=:;@-]{1,128}").fullmatch

current: contextvars.ContextVar[str | None] = contextvars.ContextVar("pygun_request_id", default=None)

_prefix = ""
_numbers = itertools.count(1)


def _renew() -> None:
    """Each process counts for itself, behind a random prefix of its own."""
    global _prefix, _numbers  # noqa: PLW0603
    _prefix = secrets.token_hex(6) + "-"
    _numbers = itertools.count(1)


_renew()
os.register_at_fork(after_in_child=_renew)


def make() -> str:
    """An id that no other request has."""
    return f"{_prefix}{next(_numbers):x}"


def begin(_worker, request) -> None:
    """gunicorn's hook pre_request."""
    for name, value in request.headers:
        if name == "X-REQUEST-ID":
            if SANE(value):
                current.set(value)
                return
            break
    current.set(f"{_prefix}{next(_numbers):x}")


class _NoRequest:
    """Stands for a request that could not be read, so that gunicorn's refusal of it gets an access line too."""

    method = uri = path = query = ""
    version = (1, 1)
    body = None
    headers = trailers = ()
    scheme = "http"


def attach(worker) -> None:
    """Have *worker* (of any class) give ids; called when it has booted."""
    app = worker.wsgi

    def with_request_id(environ, start_response):
        request_id = environ[ENVIRON] = current.get() or make()

        def start(status, headers, exc_info=None):
            for name, _value in headers:
                if len(name) == 12 and name.lower() == "x-request-id":
                    break
            else:
                headers = [*headers, (HEADER, request_id)]
            return start_response(status, headers, exc_info)

        return app(environ, start)

    refuse = worker.handle_error

    def handle_error(request, client, address, error):
        if request is None:  # it could not be read; the id of an earlier one on this connection is not its
            request = getattr(error, "req", None)
            if not hasattr(request, "headers"):
                request = _NoRequest
            begin(worker, request)
        refuse(request, client, address, error)

    worker.wsgi = with_request_id
    worker.handle_error = handle_error
    if _serves_in_main_thread(worker):
        _forget_after_each(worker)
    _inherit()


def _serves_in_main_thread(worker) -> bool:
    from gunicorn.workers.sync import SyncWorker

    return isinstance(worker, SyncWorker)


def _forget_after_each(worker) -> None:
    """What a sync worker logs between two requests belongs to neither."""
    handle = worker.handle

    def handle_and_forget(*arguments):
        try:
            handle(*arguments)
        finally:
            current.set(None)

    worker.handle = handle_and_forget


# -- what a request starts ---------------------------------------------------------------------------------------------


def run_with(request_id: str | None, function, /, *args, **kwargs):
    """Call *function* as a part of the request *request_id*."""
    token = current.set(request_id)
    try:
        return function(*args, **kwargs)
    finally:
        current.reset(token)


def _inherit() -> None:
    """Hand ids on. In the worker: what is imported here must find gevent's threads and locks, if those are used."""
    if hasattr(threading.Thread, "pygun_inherits"):
        return
    threading.Thread.pygun_inherits = True
    start = threading.Thread.start

    def start_with_id(self):
        request_id = current.get()
        if request_id is not None:
            run = self.run

            def run_with_id():
                current.set(request_id)
                run()

            self.run = run_with_id
        start(self)

    threading.Thread.start = start_with_id

    from concurrent.futures import ThreadPoolExecutor

    _wrap_submit(ThreadPoolExecutor, "submit")
    if "gevent.hub" in sys.modules:
        _inherit_in_gevent()


def _wrap_submit(pool, method: str) -> None:
    """A pool's thread serves many requests: the id belongs to the task."""
    submit = getattr(pool, method)

    def submit_with_id(self, function, /, *args, **kwargs):
        return submit(self, run_with, current.get(), function, *args, **kwargs)

    setattr(pool, method, submit_with_id)


def _inherit_in_gevent() -> None:
    """gevent starts every greenlet in an empty context."""
    import gevent
    from gevent.threadpool import ThreadPool

    _wrap_submit(ThreadPool, "spawn")

    def inherit_id(greenlet):
        request_id = current.get()
        if request_id is not None and greenlet.gr_context is None:
            context = greenlet.gr_context = contextvars.Context()
            context.run(current.set, request_id)

    gevent.Greenlet.add_spawn_callback(inherit_id)
