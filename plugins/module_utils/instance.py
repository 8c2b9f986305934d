# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the instances of an app tell about themselves in the run directory, and how to ask one of them.

The app's user owns these files, so nothing here trusts them: they are read with a limit, links and pipes are
refused, and a record counts only if supervisord names the same pid.
"""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import json
import os
import re
import ssl
import stat
import typing as t

from ansible_collections.pygun.stack.plugins.module_utils.supervisor_rpc import UnixHTTPConnection

_LARGEST_RECORD = 64 * 1024


def environment_digest(content: bytes) -> str:
    """The digest by which an instance says which env file it was started with."""
    return hashlib.sha256(content).hexdigest()


def read_json(path: str) -> dict[str, t.Any]:
    """A small JSON object from a file that somebody else owns; empty if there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return {}
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            return {}
        try:
            found = json.loads(stream.read(_LARGEST_RECORD))
        except (OSError, ValueError):
            return {}
    return found if isinstance(found, dict) else {}


@dataclasses.dataclass(frozen=True)
class Answer:
    """One HTTP answer, or why there was none."""

    status: int
    text: str

    def is_healthy(self, health_path: str) -> bool:
        """2xx or 3xx of a health endpoint; without one anything below 500."""
        return 200 <= self.status < (400 if health_path else 500)


def ask(connection: http.client.HTTPConnection, path: str, host: str) -> Answer:
    """GET one path. Status 0 means that there was no HTTP answer; the text says why."""
    try:
        return _get(connection, path, host)
    except (http.client.BadStatusLine, ConnectionResetError, BrokenPipeError) as error:
        # Connected, but no HTTP: gunicorn may have been given a certificate, and then speaks TLS on every socket.
        # Nobody is authenticated here, so the certificate is not checked.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connect = connection.connect

        def connect_securely() -> None:
            connect()
            connection.sock = context.wrap_socket(connection.sock, server_hostname=host.partition(":")[0])

        connection.connect = connect_securely  # type: ignore[method-assign]
        try:
            return _get(connection, path, host)
        except (OSError, http.client.HTTPException):
            return Answer(0, str(error) or type(error).__name__)
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, str(error) or type(error).__name__)


def _get(connection: http.client.HTTPConnection, path: str, host: str) -> Answer:
    try:
        headers = {"Host": host, "Connection": "close", "User-Agent": "pygun-activate"}
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return Answer(response.status, response.read(2000).decode("utf-8", "replace").strip())
    finally:
        connection.close()


def ask_bind(bind: str, path: str, timeout: float, host: str = "localhost") -> Answer:
    """GET one path from the public address (``HOST:PORT``, ``[HOST]:PORT``, ``:PORT`` or ``unix:PATH``)."""
    if bind.startswith("unix:"):
        return ask(UnixHTTPConnection(re.sub(r"^unix:(//)?", "", bind), timeout), path, host)
    address, separator, port = bind.rpartition(":")
    if not separator or not port.isdigit():
        address, port = bind, "8000"
    address = address.strip("[]")
    address = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}.get(address, address)
    return ask(http.client.HTTPConnection(address, int(port), timeout=timeout), path, host)


class RunDirectory:
    """The run directory of one app (normally ``/run/<app>``)."""

    def __init__(self, path: str) -> None:
        self.path = path

    def record(self, instance: str) -> dict[str, t.Any]:
        """What the instance's last master wrote about itself when it was up."""
        return read_json(os.path.join(self.path, f"{instance}.json"))

    def ready_workers(self, instance: str, master: int) -> int:
        """How many workers of this master have passed their own check."""
        return len(self._files(instance, master, r"\d+\.ready"))

    def ready_records(self, instance: str, master: int) -> list[dict[str, t.Any]]:
        """What the workers of this master have written when they had passed their own check."""
        return [read_json(os.path.join(self.path, name)) for name in self._files(instance, master, r"\d+\.ready")]

    def requests(self, instance: str, master: int) -> int | None:
        """How many requests the workers of this master have served, to about a second; None if it does not count."""
        names = self._files(instance, master, r"(\d+\.)?requests")
        counts = [read_json(os.path.join(self.path, name)).get("requests") for name in names]
        return sum(count for count in counts if isinstance(count, int)) if counts else None

    def _files(self, instance: str, master: int, tail: str) -> list[str]:
        pattern = re.compile(rf"{re.escape(instance)}\.{master}\.{tail}")
        try:
            return sorted(name for name in os.listdir(self.path) if pattern.fullmatch(name))
        except FileNotFoundError:
            return []

    def candidate(self, instance: str) -> str:
        """The link that makes the next start of this instance run another release than ``current``."""
        return os.path.join(self.path, f"{instance}.next")

    def ask(self, instance: str, path: str, timeout: float, host: str = "localhost") -> Answer:
        """GET one path from this instance and no other."""
        return ask(UnixHTTPConnection(os.path.join(self.path, f"{instance}.sock"), timeout), path, host)
