# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Start, stop and restart the programs of an app's release, all of them or one."""

from __future__ import annotations

import time
import typing as t

from .activation.instances import UP
from .activation.programs import Programs, batches
from .supervisor.rpc import STOPPED_STATES, Process


class ProgramControl:
    """The actions of `control` on the programs of an app.

    :param release_of: the release that a start of the process runs
    """

    def __init__(self, programs: Programs, release_of: t.Callable[[Process], str]) -> None:
        self.programs = programs
        self.release_of = release_of

    def named(self, name: str) -> list[Process]:
        """The processes of a program, or one of its processes; all of the app without a name."""
        processes = self.programs.processes
        return [process for process in processes if name in ("", process.group, process.name, process.full_name)]

    def predict(self, state: str, processes: list[Process]) -> None:
        """Put the actions that `act` would do into the account."""
        for process in processes:
            self.programs.account(process, _action(state, process), self.release_of(process))

    def act(self, state: str, processes: list[Process]) -> None:
        """Bring the processes into a state: ``started``, ``stopped`` or ``restarted``."""
        todo = [process for process in processes if _action(state, process) != "kept"]
        self.predict(state, processes)
        begun = time.monotonic()
        if state == "stopped":
            self.programs.stop(todo)
            for process in todo:
                self.programs.account(process, "stopped", self.release_of(process), begun, 0)
            return
        for program in self.programs.wanted.values():
            own = [process for process in self.programs.processes if process.group == program.group]
            mine = [process for process in todo if process.group == program.group]
            # What runs of a singleton needs no restart for a start of the rest: it is the same release.
            for batch in batches(program, own if state == "restarted" else mine, mine):
                started = self.programs.stop_and_start(batch)
                for before, process in zip(batch, started):  # noqa: B905  (Python 3.9)
                    self.programs.gate.wait(program, process, self.release_of(process))
                    self.programs.account(process, _action(state, before), self.release_of(process), begun)


def _action(state: str, process: Process) -> str:
    if state == "stopped":
        return "kept" if process.state in STOPPED_STATES else "stopped"
    if process.state in UP:
        return "restarted" if state == "restarted" else "kept"
    return "started"
