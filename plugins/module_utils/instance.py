# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the instances of an app tell about themselves in the run directory, and how to ask one of them.

The app's user owns these files, so nothing here trusts them: `foreign` reads them, and a record counts only if supervisord
names the same pid. What decides which code runs next lies in a directory of root's beside it (`Candidates`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.client
import os
import re
import secrets
import socket
import ssl
import stat
import struct
import time
import typing as t

from . import foreign
from .release_store import ID_PATTERN, remove_file, write_link
from .supervisor_rpc import UnixHTTPConnection

#: Fields of a master's record that anybody here reads.
_MASTER = {
    "pid": int,
    "release": ID_PATTERN,
    "workers": int,
    "worker_class": str,
    "lossless": bool,
    "gunicorn": str,
    "env_digest": str,
    "started": float,
}
_WORKER = {"pid": int, "health": str}
_SERVED = {"requests": int}
#: Workers of one instance, beyond which nobody counts.
_MOST_WORKERS = 1000
#: Bytes of an answer's body that are read.
_BODY = 2000
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid


def environment_digest(content: bytes) -> str:
    """The digest by which an instance says which env file it was started with."""
    return hashlib.sha256(content).hexdigest()


@dataclasses.dataclass(frozen=True)
class Answer:
    """One HTTP answer, or why there was none."""

    status: int
    text: str

    def is_healthy(self, health_path: str) -> bool:
        """2xx or 3xx of a health endpoint; without one anything below 500."""
        return 200 <= self.status < (400 if health_path else 500)


def ask(connection: http.client.HTTPConnection, path: str, host: str) -> Answer:
    """GET one path. Status 0 means that there was no HTTP answer; the text says why.

    The connection's timeout is that of the whole exchange: who answers with a byte now and then has no more time than others.
    """
    deadline = time.monotonic() + (connection.timeout or 0.0)
    connect = connection.connect

    def connect_in_time() -> None:
        connection.timeout = _left(deadline)
        connect()
        connection.sock = _until(deadline, _Socket(fileno=connection.sock.detach()))

    def connect_securely() -> None:
        connect_in_time()
        name = host.partition(":")[0]
        connection.sock = _until(deadline, _unchecked().wrap_socket(connection.sock, server_hostname=name))

    try:
        connection.connect = connect_in_time  # type: ignore[method-assign]
        return _get(connection, path, host)
    except (http.client.BadStatusLine, ConnectionResetError, BrokenPipeError) as error:
        # Connected, but no HTTP: gunicorn may have been given a certificate, and then speaks TLS on every socket.
        connection.connect = connect_securely  # type: ignore[method-assign]
        try:
            return _get(connection, path, host)
        except (OSError, http.client.HTTPException, ValueError):
            return _no_answer(error)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return _no_answer(error)


def _get(connection: http.client.HTTPConnection, path: str, host: str) -> Answer:
    try:
        headers = {"Host": host, "Connection": "close", "User-Agent": "pygun-activate"}
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        text = response.read(_BODY).decode("utf-8", "replace").strip()
        return Answer(response.status, foreign.printable(text, _BODY))
    finally:
        connection.close()


def _no_answer(error: Exception) -> Answer:
    return Answer(0, foreign.printable(str(error)) or type(error).__name__)


def _unchecked() -> ssl.SSLContext:
    """Nobody is authenticated here, so the certificate is not checked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = _SecureSocket
    return context


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


class _InTime:
    """A socket whose operations together, and not each of them, have to end at one moment."""

    deadline = 0.0

    def recv_into(self, *arguments: t.Any) -> int:
        self.settimeout(_left(self.deadline))
        return super().recv_into(*arguments)

    def sendall(self, *arguments: t.Any) -> None:
        self.settimeout(_left(self.deadline))
        super().sendall(*arguments)


class _Socket(_InTime, socket.socket):
    pass


class _SecureSocket(_InTime, ssl.SSLSocket):
    pass


def _until(deadline: float, connected: t.Any) -> t.Any:
    connected.deadline = deadline
    connected.settimeout(_left(deadline))
    return connected


class _LocalConnection(UnixHTTPConnection):
    """HTTP over a unix socket in a directory that an app can write: no link is followed, and the peer is who it has to be.

    :param owner: whose socket it has to be (uid); None if it is not known
    """

    def __init__(self, path: str, timeout: float, owner: int | None = None) -> None:
        super().__init__(path, timeout)
        self._owner = owner

    def connect(self) -> None:
        path = self._path
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                raise OSError(f"{path} is not a socket")
            self._path = f"/proc/self/fd/{descriptor}"
            super().connect()
        finally:
            self._path = path
            os.close(descriptor)
        _pid, uid, _gid = _PEER.unpack(self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        if self._owner not in (None, uid):
            self.sock.close()
            raise OSError(f"{path} is a socket of another user (uid {uid})")


def ask_bind(bind: str, path: str, timeout: float, host: str = "localhost") -> Answer:
    """GET one path from the public address (``HOST:PORT``, ``[HOST]:PORT``, ``:PORT`` or ``unix:PATH``)."""
    if bind.startswith("unix:"):
        return ask(_LocalConnection(re.sub(r"^unix:(//)?", "", bind), timeout), path, host)
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
        """What the instance's last master wrote about itself when it was up; empty if that cannot be read."""
        return self._read(f"{instance}.json", _MASTER)

    def wrong(self, instance: str) -> str:
        """Why nothing can be known of an instance from its record: file, and what is wrong with it; else empty."""
        path = os.path.join(self.path, f"{instance}.json")
        try:
            foreign.record(path, _MASTER)
        except foreign.Unreadable as error:
            return f"{path} {error}"
        if len(foreign.names(self.path, "")) >= foreign.MOST_NAMES:
            return f"{self.path} holds {foreign.MOST_NAMES} files or more"
        return ""

    def ready_workers(self, instance: str, master: int) -> int:
        """How many workers of this master have passed their own check."""
        return len(self._files(instance, master, r"\d+\.ready"))

    def ready_records(self, instance: str, master: int) -> list[dict[str, t.Any]]:
        """What the workers of this master have written when they had passed their own check."""
        return [self._read(name, _WORKER) for name in self._files(instance, master, r"\d+\.ready")]

    def requests(self, instance: str, master: int) -> int | None:
        """How many requests the workers of this master have served, to about a second; None if it does not count."""
        records = [self._read(name, _SERVED) for name in self._files(instance, master, r"(\d+\.)?requests")]
        return sum(one.get("requests", 0) for one in records) if records else None

    def _read(self, name: str, fields: dict[str, t.Any]) -> dict[str, t.Any]:
        try:
            return foreign.record(os.path.join(self.path, name), fields)
        except foreign.Unreadable:
            return {}

    def _files(self, instance: str, master: int, tail: str) -> list[str]:
        pattern = re.compile(rf"{re.escape(instance)}\.{master}\.{tail}", re.ASCII)
        found = foreign.names(self.path, f"{instance}.{master}.")
        return [name for name in found if pattern.fullmatch(name)][:_MOST_WORKERS]

    def ask(self, instance: str, master: int, path: str, timeout: float, host: str = "localhost") -> Answer:
        """GET one path from this instance and no other: from the user that runs this master."""
        place = os.path.join(self.path, f"{instance}.sock")
        try:
            owner = user_of(master)
        except OSError as error:
            return _no_answer(error)
        return ask(_LocalConnection(place, timeout, owner), path, host)


def user_of(pid: int) -> int:
    """The real uid of a process. Who owns its entry of /proc is another thing: root, of one that cannot be dumped."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as stream:
        found = re.search(r"^Uid:\s+(\d+)", stream.read(), re.MULTILINE)
    if not found:
        raise OSError(f"nobody knows whose process {pid} is")
    return int(found.group(1))


def candidates_folder(run_dir: str) -> str:
    """Where the candidates of an app lie: of root, and beside its run directory, as launch.py has it."""
    above, name = os.path.split(os.path.normpath(run_dir))
    return os.path.join(above, "pygun", name)


class Candidates:
    """The links that make the next start of an instance run another release than ``current``.

    A launcher from before they had a directory of root's looks for them in the run directory. It runs the first deploy after
    an upgrade, so for its sake they are made there too, as far as the app lets that happen.

    :param root: the app's directory; its ``current`` has the launcher that will look for them
    """

    def __init__(self, run_dir: str, root: str) -> None:
        self.folder = candidates_folder(run_dir)
        self._run_dir = run_dir
        self._launcher = os.path.join(root, "current", "lib", "pygun_runtime", "launch.py")

    def release_of(self, instance: str) -> str:
        """The release that the next start of the instance runs in the place of ``current``; empty if there is none."""
        for link in (self._link(instance), self._former_link(instance)):
            with contextlib.suppress(OSError):
                if os.lstat(link).st_uid == os.geteuid():
                    return os.path.basename(os.readlink(link))
        return ""

    def put(self, instance: str, release: str) -> None:
        """Have the next start of the instance run the release in this folder."""
        for folder in (os.path.dirname(self.folder), self.folder):
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)
            os.chmod(folder, 0o755)  # noqa: S103  the app reads it  # whatever the umask
        write_link(self._link(instance), release)
        if not self._launcher_knows():
            self._put_in_former_place(self._former_link(instance), release)

    def remove(self, instance: str) -> None:
        """Have the next start of the instance run ``current``."""
        remove_file(self._link(instance))
        former = self._former_link(instance)
        with contextlib.suppress(OSError):  # the app may make what it likes in its run directory
            if stat.S_ISLNK(os.lstat(former).st_mode):
                os.unlink(former)

    def remove_all(self, instances: t.Iterable[str]) -> None:
        """Have every instance run ``current`` when it starts; these, and those that have a candidate."""
        left = [name.rpartition(".next")[0] for name in foreign.names(self.folder, "") if name.endswith(".next")]
        for instance in {*instances, *left}:
            self.remove(instance)
        with contextlib.suppress(OSError):
            os.rmdir(self.folder)

    def _link(self, instance: str) -> str:
        return os.path.join(self.folder, f"{instance}.next")

    def _former_link(self, instance: str) -> str:
        return os.path.join(self._run_dir, f"{instance}.next")

    def _launcher_knows(self) -> bool:
        try:
            return b"CANDIDATES" in foreign.read(self._launcher)
        except (OSError, foreign.Unreadable):
            return False

    @staticmethod
    def _put_in_former_place(link: str, release: str) -> None:
        """A rename puts it there in the place of whatever the app has there; a directory is renamed before."""
        beside = f"{link}.{secrets.token_hex(8)}"
        with contextlib.suppress(OSError):
            os.symlink(release, beside)
            try:
                os.rename(beside, link)
            except OSError:
                os.rename(link, f"{beside}.aside")
                os.rename(beside, link)
