# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find the folders that processes of this host run from, whoever has started them."""

from __future__ import annotations

import contextlib
import os
import re
import typing as t

from .foreign import printable
from .inspection import user_name
from .text import status_of

#: Links of /proc/PID that name the folder.
_LINKS = ("exe", "cwd", "root")
#: Files of /proc/PID that name it. A Python of a virtual environment is a link to the distribution's, so `exe` is not enough.
_FILES = ("cmdline", "environ", "maps")
#: Bytes of each of these that are looked at: a process decides how long they are.
_LARGEST = 4 * 1024 * 1024


def in_use(folders: t.Collection[str]) -> dict[str, str]:
    """The folders that a process runs from, each with the first such process, such as ``pid 12 (celery) of user scoring``.

    A process names a folder as its program, working directory or root, in its arguments or environment, or by a library that it has
    loaded. Arguments and environment can lie: then a folder counts as used that is not. Only the word of a process that may enter the
    folder counts, or another app could keep this one's releases on the disk.
    """
    used: dict[str, str] = {}
    wanted = {os.fsencode(path): folder for folder in folders for path in (folder, os.path.realpath(folder))}
    doors = {folder: os.stat(folder) for folder in folders if os.path.isdir(folder)}
    for name in sorted((name for name in os.listdir("/proc") if name.isdigit()), key=int):
        if len(used) == len(doors):
            break
        users, groups = _identity(name)
        missing = [
            path
            for path, folder in wanted.items()
            if folder in doors.keys() - used and _may_enter(doors[folder], users, groups)
        ]
        if not missing:
            continue
        # What follows is not the rest of a longer name.
        pattern = re.compile(b"(" + b"|".join(map(re.escape, missing)) + rb")(?![\w.-])")
        for match in pattern.finditer(_named_by(name)):
            used.setdefault(wanted[match.group(1)], _brief(name))
    return used


def _identity(pid: str) -> tuple[set[int], set[int]]:
    """The users and the groups of a process: real, effective and saved ones."""
    found = status_of(pid)
    users, groups = found.get("Uid", ""), f"{found.get('Gid', '')} {found.get('Groups', '')}"
    return set(map(int, users.split())), set(map(int, groups.split()))


def _may_enter(door: os.stat_result, users: set[int], groups: set[int]) -> bool:
    opened = (door.st_mode & 0o100 and door.st_uid in users) or (door.st_mode & 0o010 and door.st_gid in groups)
    return bool(0 in users or opened or (users and door.st_mode & 0o001))


def _named_by(pid: str) -> bytes:
    """The places that a process uses; empty if it hides them or has ended."""
    texts = []
    for link in _LINKS:
        with contextlib.suppress(OSError):
            texts.append(os.fsencode(os.readlink(f"/proc/{pid}/{link}")))
    for file in _FILES:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/{file}", "rb") as stream:
            texts.append(stream.read(_LARGEST))
    return b"\0".join(texts)


def _brief(pid: str) -> str:
    """Pid, program and user; not the arguments, which may hold anything."""
    program, user = "?", "?"
    with contextlib.suppress(OSError):
        user = user_name(os.stat(f"/proc/{pid}").st_uid)
        with open(f"/proc/{pid}/comm", "rb") as stream:
            program = printable(stream.read(64).decode("utf-8", "replace").strip(), 40)
    return f"pid {pid} ({program}) of user {user}"
