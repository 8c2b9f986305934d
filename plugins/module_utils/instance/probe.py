# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask an instance, or a public address, over HTTP."""

from __future__ import annotations

import dataclasses
import http.client
import os
import re
import socket
import ssl
import stat
import struct
import time
import typing as t

from ..host import foreign
from ..supervisor.rpc import UnixHTTPConnection

#: Bytes of an answer's body that are read.
_BODY = 2000
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid


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

    The timeout is that of the whole exchange, so a peer that sends a byte now and then gets no more time.
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
            return no_answer(error)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return no_answer(error)


def _get(connection: http.client.HTTPConnection, path: str, host: str) -> Answer:
    try:
        # As through a proxy with TLS: an app that sends callers to https answers, and does not send the check there.
        headers = {"Host": host, "Connection": "close", "User-Agent": "pygun-activate", "X-Forwarded-Proto": "https"}
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        text = response.read(_BODY).decode("utf-8", "replace").strip()
        return Answer(response.status, foreign.printable(text, _BODY))
    finally:
        connection.close()


def no_answer(error: Exception) -> Answer:
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


class LocalConnection(UnixHTTPConnection):
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
        return ask(LocalConnection(re.sub(r"^unix:(//)?", "", bind), timeout), path, host)
    address, separator, port = bind.rpartition(":")
    if not separator or not port.isdigit():
        address, port = bind, "8000"
    address = address.strip("[]")
    address = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}.get(address, address)
    return ask(http.client.HTTPConnection(address, int(port), timeout=timeout), path, host)
