# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Processes that somebody has stopped with SIGSTOP or a terminal: supervisord, gunicorn and systemd take them for running."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ..host.inspection import HostProcess
from ..supervisor.rpc import Process


@dataclasses.dataclass(frozen=True)
class Frozen:
    """A process that is stopped. ``name`` is that of its program or unit, ``app`` the app that this belongs to, if to one."""

    process: HostProcess
    name: str
    app: str

    @property
    def text(self) -> str:
        """In words."""
        return f"{self.process.brief} is stopped (state T)"


def frozen_processes(
    processes: dict[int, HostProcess], running: t.Sequence[Process], apps: t.Sequence[str]
) -> list[Frozen]:
    """Those that supervisord has started, with all that descend from them, and the services of apps."""
    programs = {one.pid: one for one in running if one.pid}
    found = []
    for process in processes.values():
        if not process.stopped:
            continue
        service = re.fullmatch(r"pygun-(.+)\.service", process.unit)
        program = _program_of(process, processes, programs)
        if program:
            found.append(Frozen(process, program.full_name, _app_of(program.group, apps)))
        elif service:
            found.append(Frozen(process, process.unit, _app_of(service.group(1), apps)))
    return found


def _program_of(
    process: HostProcess, processes: dict[int, HostProcess], programs: dict[int, Process]
) -> Process | None:
    seen: set[int] = set()
    current: HostProcess | None = process
    while current and current.pid not in seen:
        if current.pid in programs:
            return programs[current.pid]
        seen.add(current.pid)
        current = processes.get(current.parent)
    return None


def _app_of(name: str, apps: t.Sequence[str]) -> str:
    """The app of a group or unit: its own name, or one with the name of a guard, program or job after it."""
    return max((app for app in apps if name == app or name.startswith((f"{app}-", f"{app}."))), key=len, default="")
