# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The gate of a program of the app's release: wait until it runs, or until it no longer can."""

from __future__ import annotations

import time

from ..diagnosis.log_tail import LogMark
from ..host.inspection import read_text
from ..instance.run_directory import RunDirectory
from ..supervisor.release_programs import ReleaseProgram
from ..supervisor.rpc import DEAD_STATES, Process, Supervisor
from .errors import StepFailure
from .gate import POLL

#: Seconds beyond startsecs within which a program must run and have written its record.
START_MARGIN = 10.0
#: The launchers, which execute the program in their own process.
_LAUNCHERS = ("/launch.py", "/pygun_runtime/run.py")


class ProgramGate:
    """Waits until processes of programs stay up. Owns the marks: the end of each one's log before its start."""

    def __init__(self, supervisor: Supervisor, run_dir: RunDirectory) -> None:
        self.supervisor = supervisor
        self.run_dir = run_dir
        self._marks: dict[str, LogMark] = {}

    def mark(self, name: str, log_file: str) -> None:
        """Remember the end of a log, so that a failure shows only what comes later."""
        self._marks[name] = LogMark(log_file)

    def wait(
        self,
        program: ReleaseProgram,
        started: Process,
        release: str,
        patience: float = START_MARGIN,
        fresh: bool = True,
    ) -> None:
        """Wait until supervisord says that a process is up, and its record that it runs the release.

        :param fresh: it was started a moment ago: the program itself, without what launches it, has to run for startsecs
        """
        name, begun, since = started.name, time.monotonic(), None
        while True:
            process = self.supervisor.process(started.full_name)
            if process.state in ("STOPPED", "STOPPING"):
                raise StepFailure(f"{name}: another operator stopped it meanwhile", instance=name)
            if process.state in DEAD_STATES or process.pid != started.pid:
                why = process.spawn_error or f"exit status {process.exit_status}"
                raise self._failure(program, name, f"it did not stay up ({process.state}: {why})", begun)
            now, record = time.monotonic(), self.run_dir.record(name)
            if since is None and not _is_launching(process.pid):
                since = now
            stayed = not fresh or (since is not None and now - since >= program.startsecs)
            knows = record.get("pid") == process.pid
            if process.state == "RUNNING" and stayed and knows and record.get("release") == release:
                return
            if now - begun > program.startsecs + patience:
                runs = record.get("release") if knows else "one that it has not written down"
                raise self._failure(program, name, f"it is {process.state}, and runs release {runs}", begun)
            time.sleep(POLL)

    def _failure(self, program: ReleaseProgram, name: str, why: str, begun: float) -> StepFailure:
        command = f"{{release}}/run {program.command}"
        return StepFailure.of(name, why, begun, self._marks.get(name), blames_release=True, command=command)


def _is_launching(pid: int) -> bool:
    """Whether the process is still one of our launchers. Compares the options too: a program may have a file of the same name."""
    _python, option, file, *_arguments = [*read_text(f"/proc/{pid}/cmdline").split("\0"), "", ""]
    return option in ("-IB", "-IS") and file.endswith(_LAUNCHERS)
