# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bring the wanted release to the instances: one after the other, or all at once if their program changes."""

from __future__ import annotations

import time
import typing as t

from ..release.store import ReleaseStore
from ..supervisor.rpc import Process
from .errors import StepFailure
from .instances import UP, Instances
from .journal import Journal
from .report import Report
from .survey import Survey


class Roll:
    """The part of the transaction that stops and starts instances."""

    def __init__(
        self,
        store: ReleaseStore,
        journal: Journal,
        instances: Instances,
        survey: Survey,
        report: Report,
        warn: t.Callable[[str], None],
    ) -> None:
        self.options = instances.options
        self.store = store
        self.journal = journal
        self.instances = instances
        self.survey = survey
        self.report = report
        self.warn = warn

    def roll(self) -> None:
        """Restart the instances that need it, one after the other; those that serve nothing come first."""
        instances = self.instances
        if not self.survey.can_go_back():
            self._set_current_first()
        for process in instances.holders():
            if process.state not in (*UP, "STOPPING"):
                instances.start(process.full_name)
        todo = self._outdated()
        if self.survey.reconfigure:
            # A changed program restarts the whole group, with a gap. One instance boots the release first, so that a
            # bad release does not cost that gap. If the old program cannot open its socket, no instance can boot it.
            new = self.survey.wanted != self.survey.baseline
            todo = [process for process in todo[:1] if new and not instances.blocked()]
        for process in todo:
            self._restart(process, "restarted" if instances.serves(process) else "started")
            self.journal.checkpoint(f"gated {process.name}")

    def _set_current_first(self) -> None:
        """Set ``current`` before the roll: every start goes through its launcher, and the former one cannot start."""
        self.store.set_current(self.survey.wanted)
        self.journal.checkpoint("first current")
        if self.survey.baseline is not None:
            self.warn(
                f"Release {self.survey.baseline}, which was current, cannot start any more (it, or its Python, is gone from"
                " this host): there is no way back."
            )

    def _outdated(self) -> list[Process]:
        """The instances to restart, in order. Wait for those that run the wanted release already."""
        instances = self.instances
        todo = []
        for process in instances.serving():
            if self.options.restart or not self.survey.is_fresh(process):
                todo.append(process)
                continue
            if not instances.serves(process):  # an interrupted run has started it, and it is still booting
                instances.gate.mark(process.name, process.log_file)
                instances.gate.wait(process.full_name, self.survey.wanted, process.pid)
            self.report.account(process, "kept", self.survey.wanted)
        return sorted(todo, key=lambda process: (instances.serves(process), process.number))

    def _restart(self, process: Process, action: str) -> None:
        """Restart one instance on the wanted release and wait until it is ready."""
        instances, release = self.instances, self.survey.wanted
        rolled = self.journal.entries["rolled"]
        if process.name not in rolled:
            self.journal.save(step=f"roll {process.name}", rolled=[*rolled, process.name])
        self.journal.checkpoint(f"before {process.name}")

        def work() -> dict[str, t.Any]:
            instances.candidates.put(process.name, self.store.path(release))
            return instances.stop_and_start(process)

        done = instances.protected(work, f"restarting {process.name}")
        instances.gate.mark(process.name, process.log_file, done["mark"])
        self.journal.checkpoint(f"restarted {process.name}")
        begun = time.monotonic()
        instances.gate.wait(process.full_name, release, done["pid"])
        self.report.account(process, action, release, done["pid"], done["stop_s"], time.monotonic() - begun)

    # -- all at once -------------------------------------------------------------------------------------------------

    def replace_program(self) -> None:
        """Give supervisord the new program. The group restarts at once and the socket is closed for a moment."""
        instances, journal = self.instances, self.journal
        journal.write(self.options.program_conf)
        for unit in self.options.socket_units:
            journal.write(unit)
        journal.save(step="reconfigure", reconfigured=True)
        journal.checkpoint("program conf")
        instances.supervisor.reload_config()
        count = instances.configured()
        log_files = {process.name: process.log_file for process in instances.processes}
        for number in range(count):
            name = f"{self.options.name}-{number}"
            instances.gate.mark(name, log_files.get(name, ""))
            instances.candidates.put(name, self.store.path(self.survey.wanted))
        journal.checkpoint("candidates")
        instances.update_group()
        instances.count = count
        self._wait_for_group({process.name for process in instances.processes})
        journal.checkpoint("reconfigured")

    def _wait_for_group(self, known: set[str]) -> None:
        """Wait for each instance of the new group, and raise the failure of the first that does not serve.

        :param known: names of the processes that the group had before
        """
        failed: StepFailure | None = None
        begun = time.monotonic()
        for process in self.instances.now():
            if process.number >= self.instances.count:
                continue
            try:
                self.instances.gate.wait(process.full_name, self.survey.wanted, process.pid)
            except StepFailure as failure:
                # One instance has just served this release, so the new program is at fault, and not the release.
                failure.blames_release = failure.blames_release and not self.journal.entries["rolled"]
                failed = failed or failure
                continue
            action = "restarted" if process.name in known else "started"
            self.report.account(process, action, self.survey.wanted, process.pid, 0.0, time.monotonic() - begun)
        if failed:
            raise failed
