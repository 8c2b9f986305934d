# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find the process or file that keeps the public socket of an app from being opened. Reads only."""

from __future__ import annotations

import os
import socket
import stat
import typing as t

from ..host import foreign, inspection
from ..supervisor.rpc import Process

#: With these words the launcher of supervisord says that it cannot open the socket of a program.
NOT_OPENED = "cannot open its socket"
#: Holders that are named; an app may have many workers.
_SHOWN = 3


def obstacle(bind: str, running: t.Iterable[Process] = ()) -> str:
    """Describe the process or file that occupies ``address:port`` or ``unix:path``; empty if there is none.

    :param running: the processes of supervisord, so that one of these is called by its program's name
    """
    if bind.startswith("unix:"):
        return _at_path(bind[len("unix:") :], running)
    address, _sep, port = bind.rpartition(":")
    if not port.isdigit():
        return ""
    for verb, sockets in (("listens on", inspection.listeners), ("has a connection from", inspection.connections_from)):
        found = [one for one in sockets(int(port)) if inspection.collide(one.address, address.strip("[]"))]
        if found and not _can_be_opened(address.strip("[]"), int(port)):
            one = max(found, key=lambda held: len(held.pids))
            return f"{_who(one.pids, one.user, running)} {verb} {one.address}:{port}"
    return ""


def _can_be_opened(address: str, port: int) -> bool:
    """Whether the kernel gives the address to a server. Connections that a former server has closed are in nobody's way, and look the same."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address, port))
        except OSError:
            return False
    return True


def why_not_opened(process: Process, bind: str, running: t.Iterable[Process]) -> str:
    """The reason why supervisord cannot open the socket of a process, with the obstacle."""
    seen = obstacle(bind, running)
    return f"supervisord {process.spawn_error}" + (f": {seen}" if seen else "")


def _at_path(path: str, running: t.Iterable[Process]) -> str:
    try:
        return _what_is_at(path, running)
    except OSError:  # it is not there, or an app has just exchanged it
        folder = os.path.dirname(path)
        return "" if os.path.isdir(folder) else f"there is no directory {folder}"


def _what_is_at(path: str, running: t.Iterable[Process]) -> str:
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        target = foreign.printable(os.readlink(path), 100)
        return f"{path} is a link to {target}" + ("" if os.path.exists(path) else ", which is not there")
    if stat.S_ISSOCK(mode):
        pids = inspection.unix_listeners(path)
        user = inspection.user_name(os.lstat(path).st_uid)
        return f"{_who(pids, user, running)} listens on {path}" if pids else ""
    kind = "a directory" if stat.S_ISDIR(mode) else "a file" if stat.S_ISREG(mode) else "no socket"
    return f"{path} is {kind} ({inspection.describe_mode(path)})"


def _who(pids: t.Sequence[int], user: str, running: t.Iterable[Process]) -> str:
    processes = inspection.processes()
    known = {process.pid: process.full_name for process in running if process.pid}
    shown = []
    for pid in pids:
        if pid in processes:
            program = next((known[one] for one in _and_above(pid, processes) if one in known), "")
            shown.append(processes[pid].brief + (f", of supervisord's program {program}" if program else ""))
    if not shown:  # root cannot see who it is, for want of CAP_SYS_PTRACE
        candidates = [process.brief for process in processes.values() if process.user == user]
        named = " or ".join(candidates) if 0 < len(candidates) <= _SHOWN else f"a process of user {user}"
        return f"{named} (root cannot see on this host which one)"
    return "; ".join(shown[:_SHOWN]) + ("; and others" if len(shown) > _SHOWN else "")


def _and_above(pid: int, processes: dict[int, inspection.HostProcess]) -> t.Iterator[int]:
    """A process and its parents."""
    seen: set[int] = set()
    while pid in processes and pid not in seen:
        seen.add(pid)
        yield pid
        pid = processes[pid].parent
