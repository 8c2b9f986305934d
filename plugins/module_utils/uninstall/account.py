# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Remove an app's user: end its processes, and find files because of which its number must not go to the next app.

useradd gives the number of a deleted user to the next one. A process or a file of the deleted user would be the next app's.
"""

from __future__ import annotations

import contextlib
import grp
import itertools
import os
import pwd
import re
import typing as t

from ..host import build_account
from ..host.foreign import names, printable
from ..host.inspection import read_text, user_name

#: Where every user can leave files. They stay when an app goes; what is elsewhere on the host is not looked for.
PLACES = ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run/lock", "/run/user", "/var/spool/cron", "/var/mail")  # noqa: S108
#: The folders below which others like them may be, and how far below.
ABOVE = ("/var", "/run", "/srv", "/opt")
_ABOVE_AT_MOST = 2
_LISTED_AT_MOST = 5000
#: A user whose name is here has processes from the boot on, outside of every unit of ours: logind lets each user ask for that.
LINGER = "/var/lib/systemd/linger"
#: Memory of processes that crashed, with what was secret in it. The user with the number in the name may read a file.
CORES = "/var/lib/systemd/coredump"
#: These go with supervisord itself: its PrivateTmp.
_PRIVATE_TMP = re.compile(r"systemd-private-\w+-supervisord\.service-\w+")
_ENTRIES_AT_MOST = 200_000
_DEPTH_AT_MOST = 50
_NAMED_AT_MOST = 3


def end_processes(user: str) -> None:
    """Kill everything that runs as a user, and whose program does not matter any more: the app has been stopped.

    :raises build_account.InstallError: something does not end
    """
    entry = pwd.getpwnam(user)
    build_account.end_processes(build_account.Account(user, entry.pw_uid, entry.pw_gid), everywhere=True)


def user_of(pid: int) -> str:
    """The user that a process runs as; empty if it has ended. The owner of /proc/PID may be root instead."""
    uid = re.search(r"^Uid:\s+(\d+)", read_text(f"/proc/{pid}/status"), re.MULTILINE)
    try:
        return pwd.getpwuid(int(uid.group(1))).pw_name if uid else ""
    except KeyError:
        return ""


def parted(
    pairs: t.Iterable[tuple[str, str]], with_supervisord: bool = False
) -> tuple[list[tuple[str, str]], list[str]]:
    """The accounts that can be deleted, and a sentence for each user that has to stay.

    :param pairs: ``user`` or ``group`` and a name
    :param with_supervisord: whether supervisord goes as well
    """
    pairs = list(dict.fromkeys(pairs))
    kept: dict[str, str] = {}
    for user in (name for kind, name in pairs if kind == "user"):
        entry = pwd.getpwnam(user)
        found = traces(entry.pw_uid, with_supervisord)
        if found:
            more = f" and {len(found) - _NAMED_AT_MOST} more" if len(found) > _NAMED_AT_MOST else ""
            kept[user] = (
                f"user {user} (without a password or a shell; another app would get its number, and with it"
                f" {' and '.join(found[:_NAMED_AT_MOST])}{more}; remove that, then run this again)"
            )
    groups = {pwd.getpwnam(user).pw_gid for user in kept}
    gone = [
        (kind, name)
        for kind, name in pairs
        if not (name in kept if kind == "user" else grp.getgrnam(name).gr_gid in groups)
    ]
    return gone, list(kept.values())


def traces(uid: int, with_supervisord: bool = False) -> list[str]:
    """Describe the files of a user in places where every user can write."""
    found, entries = list(_under_its_name(uid)), 0
    folders = [(place, 0) for place in dict.fromkeys([*PLACES, *_open_to_all()])]
    while folders:
        folder, depth = folders.pop()
        try:
            with os.scandir(folder) as listed:
                for entry in listed:
                    entries += 1
                    if with_supervisord and _PRIVATE_TMP.fullmatch(entry.name):
                        continue
                    try:
                        owner = entry.stat(follow_symlinks=False).st_uid
                    except OSError:
                        continue
                    if owner == uid:
                        found.append(printable(entry.path, 120))
                    elif entry.is_dir(follow_symlinks=False) and depth < _DEPTH_AT_MOST:
                        folders.append((entry.path, depth + 1))
                    if entries > _ENTRIES_AT_MOST:
                        return [*found, f"what is among more than {_ENTRIES_AT_MOST} files in {folder}"]
        except OSError:
            continue
    return found + [
        f"shared memory or semaphores ({kind} of ipcs)" for kind in ("shm", "sem", "msg") if _ipc(kind, uid)
    ]


def _under_its_name(uid: int) -> t.Iterator[str]:
    """Files of root's that systemd keeps for a user."""
    name = user_name(uid)
    if os.path.lexists(os.path.join(LINGER, name)):
        yield os.path.join(LINGER, name)
    pattern = re.compile(rf"core\..*\.{uid}\.[0-9a-f]{{32}}\.\d+\.\d+(\.\w+)?")
    yield from (printable(os.path.join(CORES, one), 200) for one in names(CORES, "core.") if pattern.fullmatch(one))


def _open_to_all() -> t.Iterator[str]:
    """Further folders in which every user can leave files, such as those of screen, PHP or a print server."""
    folders = [(place, 0) for place in ABOVE]
    while folders:
        folder, depth = folders.pop()
        with contextlib.suppress(OSError), os.scandir(folder) as listed:
            for entry in itertools.islice(listed, _LISTED_AT_MOST):
                with contextlib.suppress(OSError):
                    if not entry.is_dir(follow_symlinks=False):
                        continue
                    if entry.stat(follow_symlinks=False).st_mode & 0o002:
                        yield entry.path
                    elif depth < _ABOVE_AT_MOST:
                        folders.append((entry.path, depth + 1))


def _ipc(kind: str, uid: int) -> bool:
    lines = [line.split() for line in read_text(f"/proc/sysvipc/{kind}").splitlines()]
    rows = [dict(zip(lines[0], fields)) for fields in lines[1:]]
    return any(str(uid) in (row.get("uid"), row.get("cuid")) for row in rows)  # whoever has made it may use it
