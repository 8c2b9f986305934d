# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a master's listening sockets come from.

The public one, first that applies:

1. PYGUN_SOCKET_KEEPER, the unix socket of a keeper (keeper.py) that hands over a socket owned by systemd;
2. fd 0, if it is a listening socket: supervisor's [fcgi-program] puts it there;
3. none is handed over: gunicorn binds the address itself, as it does when started by hand.

Beside a public socket that was handed over, each instance has a private unix socket: a request through the
public one cannot choose which instance answers it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from .readiness import make_way

KEEPER_TIMEOUT = 10.0  # seconds; a keeper that is just being restarted by systemd answers well within
_PRIVATE_BACKLOG = 64
_PATH_MAX = 107  # bytes of a unix socket's path that Linux can hold


class HandoverError(RuntimeError):
    """No socket could be handed over; the text says what to do."""


class Handover:
    """The sockets of one master: `fds`, `binds` for gunicorn, `private` the path of the private socket."""

    def __init__(self, public: int, private_path: Path | None):
        self.pid = os.getpid()
        self.fds = [public]
        self.private = private_path
        self._identity = None
        if private_path:
            self.fds.append(_listen_privately(private_path))
            self._identity = _identity(private_path)

    @property
    def binds(self) -> list[str]:
        return [f"fd://{fd}" for fd in self.fds]

    def remove_private(self) -> None:
        """Remove the private socket, unless a later master already put its own in its place."""
        if self.private and _identity(self.private) == self._identity:
            with contextlib.suppress(OSError):
                self.private.unlink()


_taken: Handover | None = None


def take(app: str, private_path: Path | None) -> Handover | None:
    """The sockets handed over to this process, or None if it has to bind for itself.

    gunicorn executes its config again on HUP, when fd 0 has long been replaced: the first answer is kept.
    """
    global _taken  # noqa: PLW0603
    if _taken is None or _taken.pid != os.getpid():
        keeper = os.environ.get("PYGUN_SOCKET_KEEPER")
        if keeper:
            _taken = Handover(ask_keeper(keeper, app), private_path)
        elif is_listening(0):
            _taken = Handover(_take_stdin(), private_path)
        else:
            return None
    return _taken


def is_listening(fd: int) -> bool:
    """Whether *fd* is a socket that accepts connections."""
    try:
        probe = socket.socket(fileno=os.dup(fd))
    except OSError:
        return False
    with probe:
        try:
            return bool(probe.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        except OSError:
            return False


def ask_keeper(path: str, name: str) -> int:
    """A file descriptor of the socket that the keeper at *path* holds under *name*."""
    try:
        with socket.socket(socket.AF_UNIX) as keeper:
            keeper.settimeout(KEEPER_TIMEOUT)
            keeper.connect(path)
            with contextlib.suppress(BrokenPipeError):  # refused before it was asked: the answer says why
                keeper.sendall(name.encode() + b"\n")
            answer, received, _flags, _sender = socket.recv_fds(keeper, 200, 1)
    except OSError as error:
        raise HandoverError(f"the socket keeper at {path} does not answer ({error}); is its service running?") from None
    if not received:
        raise HandoverError(f"the socket keeper at {path} refused: {answer.decode(errors='replace') or 'no answer'}")
    if not is_listening(received[0]):
        raise HandoverError(f"what the socket keeper at {path} handed over for {name!r} is not a listening socket")
    return received[0]


def _take_stdin() -> int:
    """Move fd 0 away: the app must not find a listening socket where it expects standard input."""
    public = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return public


def _listen_privately(path: Path) -> int:
    if len(os.fsencode(path)) > _PATH_MAX:
        raise HandoverError(f"{path} is too long for a unix socket ({_PATH_MAX} bytes); choose a shorter run_dir")
    make_way(path)
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)  # never, not even for a moment, open to others
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    listener.listen(_PRIVATE_BACKLOG)
    return listener.detach()


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns  # inode numbers are used again at once
