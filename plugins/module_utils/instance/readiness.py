# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the instances of an app are ready."""

from __future__ import annotations

import time

from ..supervisor.rpc import DEAD_STATES, Process, Supervisor, SupervisorError
from .discovery import App
from .run_directory import RunDirectory


def is_ready(app: App, process: Process) -> bool:
    """Whether every worker of an instance serves."""
    directory = RunDirectory(app.run_dir)
    record = directory.record(process.name)
    if process.state not in ("RUNNING", "STARTING") or record.get("pid") != process.pid:
        return False
    return directory.ready_workers(process.name, process.pid) >= record.get("workers", 1)


def settle(app: App, supervisor: Supervisor, process: Process, seconds: float) -> tuple[Process, bool]:
    """The process as it is after a while, and whether it serves. It may be between two tries to boot."""
    give_up = time.monotonic() + seconds
    while True:
        if is_ready(app, process):
            return process, True
        if process.state in (*DEAD_STATES, "STOPPED") or time.monotonic() > give_up:
            return process, False
        time.sleep(0.2)
        try:
            process = supervisor.process(process.full_name)
        except SupervisorError:
            return process, False


def serving(app: App, running: list[Process]) -> tuple[list[Process], list[Process]]:
    """The processes of an app: its instances, and those that only hold the socket open."""
    count = min(app.instances or len(running), len(running))
    return [one for one in running if one.number < count], [one for one in running if one.number >= count]
