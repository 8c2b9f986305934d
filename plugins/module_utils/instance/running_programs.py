# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which release the processes of an app's programs run. Reads only."""

from __future__ import annotations

import dataclasses
import os

from ..release.store import ReleaseStore
from ..supervisor.release_programs import ReleaseProgram, programs_of
from ..supervisor.rpc import Process
from .run_directory import RunDirectory


@dataclasses.dataclass(frozen=True)
class RunningProgram:
    """One process of a program of an app's release."""

    program: ReleaseProgram
    release: str  # by its own record; empty if that says nothing of this process
    current: str

    @property
    def other_release(self) -> str:
        """That it runs another release than `current`, in words; empty if it does not, or while a deploy changes that."""
        deploying = os.path.exists(os.path.join(self.program.root, "activation.json"))
        if not self.release or not self.current or self.release == self.current or deploying:
            return ""
        return f"runs release {self.release}, and {self.current} is current"


def running_programs(processes: list[Process], conf_dir: str) -> dict[str, RunningProgram]:
    """Those of the processes that belong to an app's release, by their full names."""
    known = {program.group: program for program in programs_of("", conf_dir)} if processes else {}
    found = {}
    for process in processes:
        program = known.get(process.group)
        if program is not None:
            record = RunDirectory(program.run_dir).record(process.name)
            release = record.get("release", "") if process.pid and record.get("pid") == process.pid else ""
            found[process.full_name] = RunningProgram(program, release, ReleaseStore(program.root).current() or "")
    return found
