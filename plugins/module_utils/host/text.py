# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The text of root's own files and of the kernel's tables. The standard library alone: on a host the tools have a copy of this file."""

from __future__ import annotations

import os
import signal

_LARGEST_TABLE = 64 * 1024 * 1024


def _at_once(path: str, flags: int) -> int:
    """Open without waiting: in the place of a file there may be a pipe to which nobody writes."""
    return os.open(path, flags | os.O_NONBLOCK)


def read_text(path: str, most: int = 1024 * 1024) -> str:
    """The text of a file that may not be there; the last ``most`` bytes of a long one."""
    try:
        with open(path, "rb", opener=_at_once) as stream:
            try:
                if os.fstat(stream.fileno()).st_size > most:
                    stream.seek(-most, os.SEEK_END)
            except OSError:
                pass  # not every file of /proc can seek
            # What the kernel tells has no size: its tables are long on a busy host.
            return stream.read(most if os.fstat(stream.fileno()).st_size else _LARGEST_TABLE).decode("utf-8", "replace")
    except OSError:
        return ""


def status_of(pid: int | str) -> dict[str, str]:
    """The fields of /proc/PID/status by their names, such as ``Uid``; empty if the process is gone."""
    lines = (line.partition(":") for line in read_text(f"/proc/{pid}/status").splitlines())
    return {name: value.strip() for name, _colon, value in lines}


def real_user_of(pid: int | str) -> int | None:
    """The number of the user whose process it is, whatever it may do; None if it is gone.

    Not the owner of its folder: a process can have that say root.
    """
    users = status_of(pid).get("Uid", "").split()
    return int(users[0]) if users else None


def stat_of(pid: int | str) -> list[str]:
    """The fields of /proc/PID/stat that follow the name; empty if the process has ended.

    A process whose first thread has ended looks like a zombie, and goes on in its other threads.
    """
    fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    has_ended = len(fields) < 20 or (fields[0] in ("Z", "X") and int(fields[17]) < 2)
    return [] if has_ended else fields


def name_of_signal(number: int) -> str:
    """The name of a signal. Of the real-time ones, Python names the first and the last."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
