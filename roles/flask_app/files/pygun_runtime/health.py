# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask a WSGI app for its health without a connection: the check runs in the worker, before it accepts.

gunicorn itself makes the request's environment, so the app is asked as it is served: SCRIPT_NAME, scheme, headers that a
setting drops. plugins/module_utils/instance/probe.py puts the same question through a socket.
"""

from __future__ import annotations

import os

from gunicorn.config import Config
from gunicorn.http import RequestParser, wsgi

from . import phrases

_BODY_SHOWN = 200  # characters of an answer that end up in the log
_PEER = ("127.0.0.1", 0)


class Unhealthy(Exception):
    """The app answered, but not well; the text says how."""


def check(app, path: str, host: str = "localhost", cfg: Config | None = None) -> str:
    """The status line that *app* answers to GET *path*; raises Unhealthy, or the exception of the app.

    With a path, 2xx and 3xx are healthy. With "", "/" is asked and anything below 500 will do: an app without
    a health endpoint has at least to be able to answer.
    """
    asked = below_script_name(path or "/")
    response, environ = _request(asked, host, cfg or Config())
    body = b""

    def start_response(status, headers, exc_info=None):
        response.start_response(status, headers, exc_info)
        return lambda _data: None

    try:
        chunks = app(environ, start_response)
        try:
            for chunk in chunks:
                body += chunk[: max(0, _BODY_SHOWN - len(body))]
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
    except TypeError as error:
        if error.__traceback__.tb_next is not None:
            raise  # of the app's own code
        raise Unhealthy(f"GET {asked} {phrases.NOT_WSGI} {error}") from None

    status = response.status
    if not status:
        raise Unhealthy(f"GET {asked}: the app did not call start_response")
    code = int(status[:3])
    if code >= (400 if path else 500):
        shown = body.decode(errors="replace").strip()
        raise Unhealthy(f"GET {asked} {phrases.ANSWERED} {status}" + (f": {shown}" if shown else ""))
    return status


def below_script_name(path: str) -> str:
    """*path* as callers write it: gunicorn serves nothing that does not begin with SCRIPT_NAME."""
    prefix = os.environ.get("SCRIPT_NAME", "").rstrip("/")
    return path if path.partition("?")[0] == prefix or path.startswith(prefix + "/") else prefix + path


def _request(path: str, host: str, cfg: Config):
    """gunicorn's response and environment for a request that comes through a proxy with TLS.

    So an app that sends callers to https answers, and does not send the check there.
    """
    headers = {"Host": host, "User-Agent": "pygun-health", "X-Forwarded-Proto": "https", "Connection": "close"}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    request = next(RequestParser(cfg, ["\r\n".join(lines).encode()], _PEER))
    name, _colon, port = host.partition(":")
    response, environ = wsgi.create(request, None, _PEER, (name, port or "80"), cfg)
    environ["wsgi.multithread"] = True
    return response, environ
