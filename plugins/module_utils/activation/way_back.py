# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The way back: undo a transaction that has failed."""

from __future__ import annotations

import contextlib
import typing as t

from ..release.store import ReleaseStore
from ..supervisor.rpc import Process
from .errors import ActivationError, StepFailure, error_text
from .files import put_back
from .instances import Instances
from .journal import Journal
from .programs import Programs
from .report import Report
from .survey import Survey


class WayBack:
    """Undoes the changes that the journal lists, as far as possible. Owns the problems that it meets."""

    def __init__(
        self,
        store: ReleaseStore,
        journal: Journal,
        instances: Instances,
        programs: Programs,
        survey: Survey,
        report: Report,
    ) -> None:
        self.store = store
        self.journal = journal
        self.instances = instances
        self.programs = programs
        self.survey = survey
        self.report = report
        self.problems: list[str] = []

    def back(self, failure: StepFailure) -> ActivationError:
        """Bring the host to what it was before, and return the error of the activation."""
        self.report.mask(failure)  # the reason is kept in state.json, which everybody may read
        wanted, baseline = self.survey.wanted, self.survey.baseline
        blamed = failure.blames_release and wanted != baseline
        entries = self.journal.entries
        touched = bool(entries["rolled"] or entries["reconfigured"] or entries.get("programs"))
        self.journal.checkpoint("back")
        try:
            self._undo(failure, blamed)
        except Exception as error:  # pylint: disable=broad-except
            self.problems.append(error_text(error))
        if self.programs.down and blamed:  # the release of before fares no better
            blamed = False
            with contextlib.suppress(OSError):
                self.store.forget_failure(wanted)
        if not self.problems:
            self.journal.close()
            with contextlib.suppress(OSError):
                # Remove failed releases except the last one. Good releases stay until a new one serves.
                self.store.prune(len(self.store.ids()), [wanted, *([baseline] if baseline else [])])
        else:
            with contextlib.suppress(OSError):
                self.journal.save(failed=failure.why)
        what = f"Release {wanted} of {self.instances.options.name} was not put into service (step: {self.report.step})."
        after = self._state_afterwards(touched)
        if self.report.data_changed:
            after += f" {self.report.data_changed}"
        if blamed:
            after += f" Release {wanted} is marked as failed; a rollback will not choose it."
        return self.report.error(failure, wanted, what, after, rolled_back=not self.problems)

    def _state_afterwards(self, touched: bool) -> str:
        """The state that the way back leaves the host in, in words."""
        if self.problems:
            return (
                f"THE WAY BACK FAILED TOO: {self.report.masked('; '.join(self.problems))}. Instances that answer stay as they are. Repair the"
                " cause, then deploy or roll back: the next run takes over from here."
            )
        if not touched:
            return "No instance was touched." if self.report.data_changed else "Nothing was changed."
        if self.survey.baseline is None:
            return "It was the first release: the program has been removed again, and nothing serves."
        down = self.programs.down
        also = (
            f" In that release, too, {self.report.masked('; '.join(down))}. supervisord goes on trying." if down else ""
        )
        return f"The host is as it was before.{also}"

    def _undo(self, failure: StepFailure, blamed: bool) -> None:
        """Put the files back, then the release."""
        survey, journal = self.survey, self.journal
        with contextlib.suppress(OSError):  # a full disk must not stand in the way
            journal.save(step="back")
        for file in journal.entries["files"]:
            put_back(file)
        with contextlib.suppress(OSError):
            if blamed:
                self.store.mark_failed(survey.wanted, self.report.step, failure.why)
            journal.save(files=[])
        journal.checkpoint("files back")
        reconfigured, had_program = journal.entries["reconfigured"], journal.entries["had_program"]
        if survey.baseline is None or (reconfigured and not had_program):
            self._uninstall(had_program)
        elif not survey.can_go_back():
            self.problems.append(f"release {survey.baseline} that served before, or its Python, is gone from this host")
            if not any(self.instances.runs(process, survey.wanted) for process in self.instances.now()):
                self.store.set_current(survey.baseline)
        elif reconfigured:
            self._program_back()
        else:
            self._instances_back(failure)
        if not self.problems:  # or else the release that failed goes on as a whole
            self.problems += self.programs.back(survey.baseline)

    def _uninstall(self, had_program: bool) -> None:
        """Remove everything of a failed first install."""
        instances, name = self.instances, self.instances.options.name
        running = instances.now()
        instances.stop([process.full_name for process in running])
        _added, _changed, removed = instances.supervisor.reload_config()
        if running and (name in removed or not had_program):
            instances.supervisor.remove_group(name)
        instances.socket.settle()
        instances.remove_candidates()
        if self.survey.baseline is None:
            self.store.clear_current()

    def _program_back(self) -> None:
        """Restore the old program and the old release for the whole group."""
        instances = self.instances
        instances.remove_candidates()
        instances.supervisor.reload_config()
        instances.update_group()
        count = instances.program.on_disk().instances or instances.count
        for process in instances.now():
            if process.number < count:
                self._gate_back(process.full_name, process.pid)
            if process.name in self.journal.entries["stopped"]:
                instances.stop([process.full_name])

    def _instances_back(self, failure: StepFailure) -> None:
        """Restore the old release on every instance that this transaction touched, the broken ones first."""
        instances = self.instances
        rolled = set(self.journal.entries["rolled"])
        touched = [process for process in instances.now() if process.name in rolled]
        touched.sort(key=lambda process: (process.name != failure.instance, instances.serves(process), process.number))
        for process in touched:
            stopped = process.name in self.journal.entries["stopped"]

            def work(process: Process = process, stay: bool = stopped) -> dict[str, t.Any]:
                instances.candidates.remove(process.name)
                if stay:
                    instances.stop([process.full_name])
                    return {"pid": 0}
                return instances.stop_and_start(process)

            done = instances.protected(work, f"back {process.name}")
            if not stopped and not self._gate_back(process.full_name, done["pid"]):
                return  # the instances that are still on the new release answer; they stay

    def _gate_back(self, full_name: str, pid: int) -> bool:
        """Wait until the old release serves on an instance again; return whether it does."""
        baseline = self.survey.baseline
        try:
            self.instances.gate.wait(full_name, baseline, pid, strict=False)
        except StepFailure as failure:
            self.problems.append(f"the release {baseline} that served before did not come back on {failure.why}")
            return False
        return True
