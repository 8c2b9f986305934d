# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The program of the app in an activation: its configuration on disk, and the wanted one."""

from __future__ import annotations

import contextlib
import os
import pwd

from ..instance.public_socket import SystemdSocket, address_in
from ..supervisor.app_program import AppProgram, program_of
from ..supervisor.conf import parse_text
from .options import Options


class Program:
    """The program of one app. Owns the longest time that its configuration has given it to stop."""

    def __init__(self, options: Options, socket: SystemdSocket) -> None:
        self.options = options
        self.socket = socket
        self._stop_timeout = 0.0

    def _described(self, content: bytes | None) -> AppProgram:
        return program_of(parse_text((content or b"").decode("utf-8", "replace")), self.options.name)

    def on_disk(self) -> AppProgram:
        """The program as the configuration on disk describes it."""
        conf = self.options.program_conf
        return self._described(conf.on_disk() if conf else None)

    def wanted(self) -> AppProgram:
        """The program as the wanted configuration describes it; without one, as the configuration on disk does."""
        conf = self.options.program_conf
        return self._described(conf.content) if conf and conf.content is not None else self.on_disk()

    def user(self) -> str:
        """The app's user; empty if the configuration names none."""
        return self.wanted().user

    def uid(self) -> int | None:
        """The number of the app's user; None if it has none on this host."""
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(self.user()).pw_uid
        return None

    def bind(self) -> str:
        """The public address that supervisord or systemd opens, as ``address:port`` or ``unix:path``; empty if neither does."""
        return self.on_disk().bind or self.socket.wanted() or ""

    def stop_timeout(self) -> float:
        """Seconds after which supervisord kills a process that does not stop.

        A process keeps the configuration of its start, so the longest time of all configurations holds.
        """
        self._stop_timeout = max(self._stop_timeout, self.on_disk().stop_timeout, self.wanted().stop_timeout)
        return self._stop_timeout

    def new_bind(self) -> str:
        """The public address of the program as it will be; empty if it stays as it is."""
        conf = self.options.program_conf
        if not (conf and conf.content):
            return ""
        units = {os.path.basename(unit.path): unit.content or b"" for unit in self.options.socket_units}
        return self.wanted().bind or address_in(units.get(self.socket.sockets[0], b"").decode())

    def log_file(self, name: str) -> str:
        """The log of an instance whose process supervisord does not know yet."""
        return os.path.join(self.options.log_dir, f"{name}.log")
