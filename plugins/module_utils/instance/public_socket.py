# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An app's public socket in the hands of systemd: the units that hold it, and whether it really listens.

While such a socket listens, callers wait in its backlog, whatever happens to supervisord and to the instances.
"""

from __future__ import annotations

import ipaddress
import os
import re
import subprocess
import sys

from ..host.atomic import remove_file
from ..host.inspection import listening_unix_sockets

UNITS = "/etc/systemd/system"
_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp
TIMEOUT = 60.0


class SocketError(Exception):
    """systemd has failed; the text is its message."""


def listens(bind: str) -> bool:
    """Whether anybody listens on ``address:port`` (IPv4 or [IPv6]) or ``unix:path``, exactly."""
    if bind.startswith("unix:"):
        return bool(listening_unix_sockets(bind[len("unix:") :]))
    host, _sep, port = bind.rpartition(":")
    address = ipaddress.ip_address(host.strip("[]"))
    wanted = f"{_in_kernel_order(address.packed)}:{int(port):04X}"
    table = "/proc/net/tcp" if address.version == 4 else "/proc/net/tcp6"
    return any(fields[1] == wanted and fields[3] == _LISTEN for fields in _table(table))


def _in_kernel_order(packed: bytes) -> str:
    """An address as /proc/net/tcp writes it: 32-bit words in the byte order of the machine."""
    words = [packed[start : start + 4] for start in range(0, len(packed), 4)]
    return "".join((word[::-1] if sys.byteorder == "little" else word).hex().upper() for word in words)


def _table(path: str) -> list[list[str]]:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return [line.split() for line in stream.read().splitlines()[1:]]
    except OSError:
        return []


def address_in(unit: str) -> str:
    """The address in the text of a socket unit, as ``address:port`` or ``unix:path``; empty without one."""
    found = re.search(r"^ListenStream=(\S+)", unit, re.MULTILINE)
    address = found.group(1) if found else ""
    return f"unix:{address}" if address.startswith("/") else address


class SystemdSocket:
    """The socket units of one app: ``pygun-NAME.socket`` (public) and ``pygun-NAME-keeper.socket`` (hand-over).

    The wanted state is that of the public unit's file. Without that file, systemd holds no socket.
    """

    def __init__(self, name: str, folder: str = UNITS) -> None:
        self.folder = folder
        self.sockets = [f"pygun-{name}.socket", f"pygun-{name}-keeper.socket"]
        self.keeper = f"pygun-{name}.service"

    def files(self) -> list[str]:
        """The unit files that belong to it."""
        return [os.path.join(self.folder, unit) for unit in (*self.sockets, self.keeper)]

    def wanted(self) -> str | None:
        """The address in the public unit's file, as ``address:port`` or ``unix:path``; None without a file."""
        try:
            with open(os.path.join(self.folder, self.sockets[0]), encoding="utf-8") as stream:
                return address_in(stream.read())
        except FileNotFoundError:
            return None

    def settled(self) -> bool:
        """Whether the wanted state is reached: systemd listens as the files say, or there is no socket to hold."""
        return self.listening() and (self.wanted() is None or not self._outdated())

    def listening(self) -> bool:
        """Whether systemd listens where it should, be it by older files."""
        bind = self.wanted()
        if bind is None:
            return True
        active = subprocess.run(["systemctl", "is-active", "--quiet", *self.sockets], check=False, timeout=TIMEOUT)  # pylint: disable=ansible-bad-function
        return active.returncode == 0 and listens(bind)

    def _outdated(self) -> set[str]:
        """The units whose files systemd has not read since they were changed."""
        units = [*self.sockets, self.keeper]
        shown = subprocess.run(  # pylint: disable=ansible-bad-function
            ["systemctl", "show", "--property=NeedDaemonReload", "--value", *units],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )
        return {unit for unit, answer in zip(units, shown.stdout.split()) if answer == "yes"}

    def settle(self) -> None:
        """Have systemd listen on the wanted address, now and at boot; or let go, when nothing is wanted any more.

        :raises SocketError: when systemd cannot, usually because the address is taken
        """
        if self.wanted() is not None:
            outdated = self._outdated()
            public, private = self.sockets
            if outdated and public not in outdated and self.listening():  # the public socket stays open
                self._systemctl("daemon-reload")
                # One job for both: a caller of the public socket would start the keeper again between two.
                self._systemctl("restart", private if private in outdated else self.keeper)
                self._systemctl("start", self.keeper)
            elif outdated or not self.listening():
                self._systemctl("daemon-reload")
                self._systemctl("enable", "--quiet", *self.sockets)
                self._systemctl("stop", self.keeper, *self.sockets)
                self._systemctl("start", *self.sockets, self.keeper)
        elif self._known():
            self._systemctl("stop", self.keeper, *self.sockets)
            for unit in self.sockets:
                remove_file(self._link(unit))
            self._systemctl("daemon-reload")

    def _known(self) -> bool:
        """Whether a boot would still look for the public unit."""
        return os.path.islink(self._link(self.sockets[0]))

    def _link(self, unit: str) -> str:
        return os.path.join(self.folder, "sockets.target.wants", unit)

    def _systemctl(self, *arguments: str) -> None:
        try:
            done = subprocess.run(  # pylint: disable=ansible-bad-function
                ["systemctl", *arguments],
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=TIMEOUT,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SocketError(f"systemctl {' '.join(arguments)} cannot be run: {error}") from error
        if done.returncode:
            said = done.stderr.strip()
            if arguments[0] == "start":
                said += "\n" + self._journal()
            raise SocketError(f"systemctl {' '.join(arguments)}: {said}")

    def _journal(self) -> str:
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            ["journalctl", "--no-pager", "-o", "cat", "-n", "4", "-u", self.sockets[0]],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=TIMEOUT,
        )
        return done.stdout.strip()
