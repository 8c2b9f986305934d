# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask a WSGI app for its health without a connection: the check runs in the worker, before it accepts."""

from __future__ import annotations

import io
import sys
from urllib.parse import unquote_to_bytes

from . import phrases

_BODY_SHOWN = 200  # characters of an answer that end up in the log


class Unhealthy(Exception):
    """The app answered, but not well; the text says how."""


def check(wsgi, path: str, host: str = "localhost") -> str:
    """The status line that *wsgi* answers to GET *path*; raises Unhealthy, or whatever the app raises.

    With a path, 2xx and 3xx are healthy. With "", "/" is asked and anything below 500 will do: an app without
    a health endpoint has at least to be able to answer.
    """
    answered: list[str] = []
    body = b""

    def start_response(status, _headers, _exc_info=None):
        answered[:] = [status]
        return lambda _data: None

    try:
        chunks = wsgi(_environ(path or "/", host), start_response)
        try:
            for chunk in chunks:
                body += chunk[: max(0, _BODY_SHOWN - len(body))]
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
    except TypeError as error:
        if error.__traceback__.tb_next is not None:
            raise  # of the app's own code
        raise Unhealthy(f"GET {path or '/'} {phrases.NOT_WSGI} {error}") from None

    if not answered:
        raise Unhealthy(f"GET {path or '/'}: the app did not call start_response")
    status = answered[0]
    code = int(status[:3])
    if code >= (400 if path else 500):
        shown = body.decode(errors="replace").strip()
        raise Unhealthy(f"GET {path or '/'} {phrases.ANSWERED} {status}" + (f": {shown}" if shown else ""))
    return status


def _environ(path: str, host: str) -> dict:
    path, _mark, query = path.partition("?")
    name, _colon, port = host.partition(":")
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "RAW_URI": path + ("?" + query if query else ""),
        "QUERY_STRING": query,
        "SERVER_NAME": name,
        "SERVER_PORT": port or "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "gunicorn",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "0",
        "HTTP_HOST": host,
        "HTTP_USER_AGENT": "pygun-health",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
