# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lines for the daemons that collect them: journald and syslog.

Datagrams that never wait: a daemon that is slow or down costs lines there, which are counted, and no request.
"""

from __future__ import annotations

import _socket  # not socket: gevent replaces that, and these must not switch to another greenlet
import errno
import json
import os
import time

JOURNALD = "/run/systemd/journal/socket"
SYSLOG = "/dev/log"

#: Bytes of one line that syslog daemons take by default.
SYSLOG_LONGEST = 8000
#: Bytes of one field: datagrams have a limit too, and journald keeps no field beyond its own.
JOURNALD_LONGEST = 48 * 1024

#: Numbers of RFC 5424 for Python's names of levels.
SEVERITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
_DAEMON = 3  # facility


class Forwarder:
    """Sends to the unix datagram socket at *path*; `lost` counts what it did not take."""

    def __init__(self, path: str, name: str):
        self.path = path
        self.name = name
        self.lost = 0
        self._socket = None
        self._pid = 0

    def send(self, level: str, fields: dict, line: str) -> bool:
        """Forward one event; *fields* are those of its JSON line, *line* is what stands in the file."""
        try:
            self._send(self.datagram(level, fields, line))
        except OSError:
            self.lost += 1
            return False
        return True

    def datagram(self, level: str, fields: dict, line: str) -> bytes:
        raise NotImplementedError

    def _send(self, data: bytes) -> None:
        if self._pid != os.getpid():
            # Of our own: a socket shared by all processes would share one send buffer.
            self._pid = os.getpid()
            self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        try:
            self._socket.sendto(data, self.path)
        except OSError as error:
            if error.errno == errno.EBADF:  # the app has closed all it did not know
                self._pid = 0
            raise


class Journald(Forwarder):
    """The journal's own protocol: every field can be searched for (`journalctl HTTP_REQUEST_ID=...`)."""

    def __init__(self, app: str, path: str = JOURNALD):
        super().__init__(path, "journald")
        self._constant = _field("SYSLOG_IDENTIFIER", app)

    def datagram(self, level: str, fields: dict, line: str) -> bytes:
        parts = [self._constant, _field("PRIORITY", str(SEVERITIES.get(level, 6)))]
        for name, value in fields.items():
            if name not in ("@timestamp", "ecs.version"):
                key = "".join(char if char.isascii() and char.isalnum() else "_" for char in name.upper())
                parts.append(_field(key.lstrip("_0123456789")[:64], str(value)))
        return b"".join(parts)


def _field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "replace")[:JOURNALD_LONGEST]
    if b"\n" in data:
        return b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)
    return b"%s=%s\n" % (name.encode(), data)


class Syslog(Forwarder):
    """RFC 3164 as the C library's syslog() writes it; the message is the line as in the file."""

    def __init__(self, app: str, path: str = SYSLOG):
        super().__init__(path, "syslog")
        self._app = app

    def datagram(self, level: str, fields: dict, line: str) -> bytes:
        # Names of months as C has them, whatever the app's locale.
        now = time.localtime()
        month = "JanFebMarAprMayJunJulAugSepOctNovDec"[now.tm_mon * 3 - 3 : now.tm_mon * 3]
        head = f"<{_DAEMON * 8 + SEVERITIES.get(level, 6)}>{month} {now.tm_mday:2} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
        text = f"{head} {self._app}[{os.getpid()}]: {line.rstrip()}"
        return text.encode("utf-8", "replace")[:SYSLOG_LONGEST].decode("utf-8", "ignore").encode()


def tell_the_host(app: str, level: str, text: str) -> None:
    """Say something where it can still be read when the app's own log cannot be written."""
    fields = json.loads(json.dumps({"message": text}))
    for forwarder in (Journald(app), Syslog(app)):
        if forwarder.send(level, fields, text):
            return
