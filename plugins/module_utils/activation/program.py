# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the configuration of an app's program."""

from __future__ import annotations

import contextlib
import os
import pwd
import re

from ..instance.public_socket import SystemdSocket
from .options import Options


class Program:
    """The program of one app, as its configuration describes it; the options say the rest."""

    def __init__(self, options: Options, socket: SystemdSocket) -> None:
        self.options = options
        self.socket = socket

    def _on_disk(self) -> bytes:
        conf = self.options.program_conf
        return (conf.on_disk() if conf else None) or b""

    def instances(self) -> int | None:
        """How many processes of the program serve; None if neither the configuration nor the options say it."""
        return self.instances_on_disk() or self.options.instances

    def instances_on_disk(self) -> int | None:
        """How many processes of the program serve, as the configuration on disk says it."""
        match = re.search(rb"PYGUN_INSTANCES=[\"']?(\d+)", self._on_disk())
        return int(match.group(1)) if match else None

    def user(self) -> str:
        """The app's user, as the options or the program's configuration name it; empty if neither does."""
        conf = self.options.program_conf
        text = (conf.content if conf else None) or self._on_disk()
        match = re.search(rb"^user\s*=\s*([^\s:]+)", text, re.MULTILINE)
        return self.options.user or (match.group(1).decode() if match else "")

    def uid(self) -> int | None:
        """The number of the app's user; None if it has none on this host."""
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(self.user()).pw_uid
        return None

    def bind(self) -> str:
        """The public address that supervisord or systemd opens, as ``address:port`` or ``unix:path``."""
        return _socket_in(self._on_disk()) or self.socket.wanted() or self.options.bind

    def new_bind(self) -> str:
        """The public address of the program as it will be; empty if it stays as it is."""
        conf = self.options.program_conf
        return (_socket_in(conf.content) or self.options.bind) if conf and conf.content else ""

    def log_file(self, name: str) -> str:
        """The log of an instance whose process supervisord does not know yet."""
        return os.path.join(self.options.log_dir, f"{name}.log")


def _socket_in(text: bytes) -> str:
    """The address that a program's configuration has supervisord open; empty if there is none."""
    match = re.search(rb"^socket\s*=\s*(?:tcp://(\S+)|unix://(\S+))", text, re.MULTILINE)
    if match is None:
        return ""
    return match.group(1).decode() if match.group(1) else f"unix:{match.group(2).decode()}"
