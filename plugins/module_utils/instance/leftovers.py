# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""End the processes that an app leaves running when its instances stop: children that ignore SIGTERM, daemons, helpers.

A process is known by where it comes from: its parents, its process group, its session, and the control group of
supervisord. The environment and the command of a process prove nothing: children and strangers can have the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import time
import typing as t

from ..host.foreign import printable
from ..host.text import read_text, real_user_of, stat_of
from ..supervisor.rpc import Supervisor

#: Seconds between SIGTERM and SIGKILL. Leftovers had their time to end while supervisord stopped the instance.
PATIENCE = 2.0
#: Seconds during which processes that go on forking are killed.
KILLING = 5.0
POLL = 0.05


@dataclasses.dataclass(frozen=True)
class Entry:
    """One process of the host."""

    pid: int
    parent: int
    group: int
    session: int
    started: int
    uid: int
    name: str

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.name})"

    def signal(self, number: int) -> None:
        """Send a signal to it, and to no later process of the same pid."""
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(self.pid)
            try:
                now = _entry(self.pid)
                if now is not None and now.started == self.started:
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)


def _entry(pid: int) -> Entry | None:
    fields, uid = stat_of(pid), real_user_of(pid)
    if not fields or uid is None:
        return None
    name = printable(read_text(f"/proc/{pid}/comm").rstrip("\n"), 40)
    return Entry(pid, int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]), uid, name)


def _table() -> dict[int, Entry]:
    found = (_entry(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {entry.pid: entry for entry in found if entry is not None}


def _below(table: dict[int, Entry], roots: t.Iterable[int]) -> set[int]:
    """These pids and those of all their descendants."""
    children: dict[int, list[int]] = {}
    for entry in table.values():
        children.setdefault(entry.parent, []).append(entry.pid)
    found: set[int] = set()
    todo = list(roots)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo.extend(children.get(pid, []))
    return found


class Leftovers:
    """The processes that some programs leave behind. Create it before the programs stop, then call `end`.

    :param uid: the user whose daemons are looked for as well, in supervisord's control group; None: of no user
    """

    def __init__(self, supervisor: Supervisor, pids: t.Iterable[int], uid: int | None) -> None:
        self.supervisor = supervisor
        self.pids = {pid for pid in pids if pid}
        self.uid = uid or None  # what root has started there, nobody can tell from what it started elsewhere
        table = _table() if self.pids else {}
        self.known = {(pid, table[pid].started) for pid in _below(table, self.pids) if pid in table}

    def are_there(self) -> bool:
        """Whether `end` would end any."""
        return bool(self._look(set()))

    def end(self, idle: t.Iterable[int] = ()) -> list[str]:
        """Ask them to end, make those that do not, and say who they were.

        :param idle: programs that run, and from which nothing can come
        """
        found = self._look(set(idle))
        names = [str(entry) for entry in found]
        for entry in found:
            entry.signal(signal.SIGTERM)
        give_up = time.monotonic() + PATIENCE
        while found and time.monotonic() < give_up + KILLING:
            time.sleep(POLL)
            found = self._look(set(idle))
            for entry in found if time.monotonic() > give_up else ():
                entry.signal(signal.SIGKILL)
        return names

    def _look(self, idle: set[int]) -> list[Entry]:
        table = _table()
        running = {process.pid for process in self.supervisor.all_processes() if process.pid}
        spared = _below(table, running) | self._above(table)
        own = {entry.pid for entry in table.values() if (entry.pid, entry.started) in self.known}
        # The kernel gives a pid to nobody else as long as a group or session has its number.
        strangers = {pid for pid in self.pids if pid in table and (pid, table[pid].started) not in self.known}
        pids = self.pids - strangers
        own |= {entry.pid for entry in table.values() if pids & {entry.group, entry.session}}
        own = _below(table, own)  # what they have forked meanwhile
        daemons = self._daemons(table, running - idle)
        return [entry for entry in table.values() if entry.pid not in spared and entry.pid in own | daemons]

    @staticmethod
    def _above(table: dict[int, Entry]) -> set[int]:
        """This process and its parents."""
        found, pid = set(), os.getpid()
        while pid in table and pid not in found:
            found.add(pid)
            pid = table[pid].parent
        return found

    def _daemons(self, table: dict[int, Entry], running: set[int]) -> set[int]:
        """Processes of the user that have left their parents, from before every program of that user that runs now."""
        candidates = [entry for entry in table.values() if entry.uid == self.uid]
        if self.uid is None or not candidates:
            return set()
        place = _control_group(self.supervisor.call("supervisor.getPID"))
        if not re.search(r"/[^/\n]+\.service$", place, re.MULTILINE) or place == _control_group(os.getpid()):
            return set()  # not run by systemd: the group is not its own
        since = min(
            (table[pid].started for pid in running if pid in table and table[pid].uid == self.uid), default=None
        )
        return {
            entry.pid
            for entry in candidates
            if (since is None or entry.started < since) and _control_group(entry.pid) == place
        }


def _control_group(pid: int) -> str:
    """Its lines of /proc/PID/cgroup that systemd decides about."""
    lines = [line.split(":", 2) for line in read_text(f"/proc/{pid}/cgroup").splitlines()]
    return "\n".join(fields[2] for fields in lines if len(fields) == 3 and fields[1] in ("", "name=systemd"))
