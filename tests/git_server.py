# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bare repositories, each behind a login of its own."""

from __future__ import annotations

import base64
import contextlib
import http.server
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path


class Server(http.server.ThreadingHTTPServer):
    """Serves the repositories of a folder; ``seen`` is what every user of the machine saw of the processes meanwhile."""

    def __init__(self, folder: Path, logins: Mapping[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.logins = logins
        self.seen: list[bytes] = []


class _Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                self.server.seen.append(path.read_bytes())
        login = self.server.logins[self.path.split("/")[1]]
        if self.headers["Authorization"] == "Basic " + base64.b64encode(login.encode()).decode():
            super().do_GET()
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic realm=git")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_what):
        pass


@contextlib.contextmanager
def serving(folder: Path, logins: Mapping[str, str]) -> Iterator[Server]:
    """The server, while it serves.

    :param logins: user and password of each repository, such as ``{"own.git": "me:s3cret"}``
    """
    with Server(folder, logins) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()
