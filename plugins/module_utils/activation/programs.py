# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The programs of the app's release in an activation: they follow the instances to the wanted release, and back."""

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from ..release.store import ReleaseStore
from ..supervisor.conf import STOP_MARGIN
from ..supervisor.release_programs import ReleaseProgram, obstacle, program_in, programs_of
from ..supervisor.rpc import BadName, Process
from .errors import ActivationError, StepFailure
from .files import ManagedFile
from .gate import VERIFY_TIMEOUT
from .instances import UP, Instances
from .journal import Journal
from .options import Options
from .program_gate import ProgramGate
from .report import Report


class Programs:
    """The programs of one app's release, each a group of supervisor's. Owns their files, and what supervisord runs of them."""

    def __init__(
        self, options: Options, store: ReleaseStore, journal: Journal, instances: Instances, report: Report
    ) -> None:
        self.options = options
        self.store = store
        self.journal = journal
        self.instances = instances
        self.report = report
        self.supervisor = instances.supervisor
        self.files: dict[str, ManagedFile] = {}
        self.wanted: dict[str, ReleaseProgram] = {}
        self.processes: list[Process] = []
        self._lacking: dict[str, str] = {}
        self._pending: set[str] = set()
        self._lost: set[str] = set()
        self._former: dict[str, ReleaseProgram] = {}
        #: Why processes do not stay up, after the way back.
        self.down: list[str] = []
        self.gate = ProgramGate(self.supervisor, instances.run_dir)

    # -- what there is -----------------------------------------------------------------------------------------------

    def look(self, pending: t.Iterable[str] = (), release: str = "") -> None:
        """Find the programs that are there, and those that are wanted.

        :param pending: groups that supervisord does not run as their files say
        :param release: another release than the one in service, if that is wanted
        """
        self.find(release)
        self._lost = self._without_file(pending)
        self._pending = self._known() & set(pending)
        self.processes = self.now()

    def _without_file(self, pending: t.Iterable[str]) -> set[str]:
        """Groups of the app's programs that supervisord still runs, although their files were removed by hand."""
        ours = {group for group in pending if group.startswith(f"{self.options.name}.")} - self._known()
        if not ours or self.options.programs is None:
            return set()
        return ours & {process.group for process in self.supervisor.all_processes()}

    def find(self, release: str = "") -> None:
        """Find the files of the programs, without supervisord.

        A rollback removes the programs that its release does not have: they came later, and the next deploy brings them again.
        """
        self._former = {**self._former, **(standing := self._on_disk())}
        self.files, self.wanted = {}, standing
        if self.options.programs is not None:
            self.files = {_group_of(file.path): file for file in self.options.programs}
            for group, program in standing.items():
                if group not in self.files:
                    self.files[group] = ManagedFile(program.path, None, 0o644, absent=True)
            found = {group: program_in(file.content, file.path) for group, file in self.files.items()}
            self.wanted = {group: program for group, program in found.items() if program is not None}
        elif release and self.store.is_complete(release):
            found = {group: obstacle(program, self.store.path(release)) for group, program in standing.items()}
            self._lacking = {group: why for group, why in found.items() if why}
            for group in self._lacking:
                self.files[group] = ManagedFile(standing[group].path, None, 0o644, absent=True)
            self.wanted = {group: program for group, program in standing.items() if group not in self._lacking}

    def _on_disk(self) -> dict[str, ReleaseProgram]:
        conf = self.options.program_conf
        folder = os.path.dirname(os.path.dirname(conf.path)) if conf else ""
        return {program.group: program for program in programs_of(self.options.name, folder)} if folder else {}

    def _known(self) -> set[str]:
        """The groups of the app's programs: those that are there, those that are wanted, and those that a killed run has touched."""
        return {*self.wanted, *self.files, *self._former, *self._touched(), *self._lost}

    def _touched(self) -> list[str]:
        return self.journal.entries.get("programs", []) if self.journal.is_open else []

    def now(self) -> list[Process]:
        """The processes of the programs, as supervisord knows them now."""
        known = self._known()
        return [process for process in self.supervisor.all_processes() if process.group in known] if known else []

    def stop_timeout(self) -> float:
        """The longest time, in seconds, that supervisord gives a process of these programs to stop."""
        standing = {**self._former, **self._on_disk()}
        return max((program.stop_timeout for program in [*standing.values(), *self.wanted.values()]), default=0.0)

    def work(self, release: str) -> list[str]:
        """The names of the programs that have to be touched for the release."""
        todo = [group for group in self._known() if self._is_replaced(group)]
        for group in self.wanted:
            processes = [process for process in self.processes if process.group == group]
            if not processes or not all(self.instances.is_fresh(process, release) for process in processes):
                todo.append(group)
        return sorted(set(todo))

    def _is_replaced(self, group: str) -> bool:
        """Whether supervisord has to get a new file of the program, or to forget it."""
        file = self.files.get(group)
        if group in self._pending or (file is not None and file.differs()):
            return True
        running = any(process.group == group for process in self.processes)
        return running != (group in self.wanted)

    def idle(self) -> list[str]:
        """The processes that an operator has stopped."""
        return [process.name for process in self.processes if process.state in ("STOPPED", "STOPPING")]

    def refuse_missing(self, release: str) -> None:
        """Refuse a release without the command of a program, before anything is touched."""
        folder = self.store.path(release)
        for program in self.wanted.values():
            wrong = obstacle(program, folder)
            if wrong:
                raise ActivationError(
                    f"{program.name} (flask_app_programs) cannot start in release {release}: {wrong} Nothing was changed.",
                    step="prepare",
                )

    # -- forward -----------------------------------------------------------------------------------------------------

    def bring(self, release: str) -> None:
        """Bring the release to each program: one after the other, each one's processes one after the other."""
        for group in sorted(self._known()):
            program = self.wanted.get(group)
            if self._is_replaced(group):
                self._touch(group)
                if group in self._lacking:
                    self.report.warn(
                        f"{group} is removed, since release {release} cannot run it: {self._lacking[group]} The next deploy starts it again."
                    )
                self.journal.write(self.files.get(group))
                self.journal.checkpoint(f"file of {group}")
                self.supervisor.reload_config()
                self._replace(group, program, release)
            elif program is not None:
                self._restart(program, release)
            else:
                continue
            self.journal.checkpoint(f"brought {group}")

    def _touch(self, group: str) -> None:
        touched = self._touched()
        if group not in touched:
            self.journal.save(step=f"program {group}", programs=[*touched, group])
        self.journal.checkpoint(f"before {group}")

    def _replace(self, group: str, program: ReleaseProgram | None, release: str) -> None:
        """Make supervisord load the group from its file; without a program, remove the group."""
        names = program.process_names if program else []

        def work() -> dict[str, t.Any]:
            self._take_out(group)
            self._point(names, release)
            self._put_in(program)
            return {}

        for name in names:
            self.gate.mark(name, self.instances.program.log_file(name))
        begun = time.monotonic()
        self.instances.protected(work, f"replacing {group}")
        known = {process.name for process in self.processes}
        for name in names if program else ():
            process = self.supervisor.process(f"{group}:{name}")
            self.gate.wait(program, process, release)
            self.account(process, "restarted" if name in known else "started", release, begun)

    def _take_out(self, group: str) -> None:
        running = [process for process in self.supervisor.all_processes() if process.group == group]
        self.stop(running)
        if running:
            with contextlib.suppress(BadName):
                self.supervisor.remove_group(group)

    def _put_in(self, program: ReleaseProgram | None) -> None:
        if program is None:
            return
        for name in program.process_names:
            self.instances.make_log(name)
        self.supervisor.add_group(program.group)
        for name in program.process_names:
            self.instances.start(f"{program.group}:{name}")

    def stop(self, processes: list[Process]) -> None:
        """Stop processes after their current tasks, and end their leftovers."""
        left = self.instances.leftovers(processes)
        patience = self.stop_timeout() + STOP_MARGIN
        self.instances.wait_until_stopped([process.full_name for process in processes], patience)
        self.instances.ended += left.end()

    def _point(self, names: list[str], release: str | None) -> None:
        """Put candidate links for processes; without a release, remove them, so that processes run `current`."""
        for name in names if release else ():
            self.instances.candidates.put(name, self.store.path(release))

    def _restart(self, program: ReleaseProgram, release: str) -> None:
        processes = [process for process in self.now() if process.group == program.group]
        todo = [
            process for process in processes if self.options.restart or not self.instances.is_fresh(process, release)
        ]
        for process in processes:
            if process not in todo:
                self.account(process, "kept", release)
        for batch in batches(program, processes, todo):
            self._touch(program.group)
            begun = time.monotonic()
            started = self.stop_and_start(batch, release)
            for process in started:
                self.gate.wait(program, process, release)
                was_up = any(one.name == process.name and one.state in UP for one in batch)
                self.account(process, "restarted" if was_up else "started", release, begun)

    def stop_and_start(self, batch: list[Process], release: str | None = None) -> list[Process]:
        """Stop these processes, then start them on the release; return them as they are then."""

        def work() -> dict[str, t.Any]:
            self._point([process.name for process in batch], release)
            self.stop(batch)
            for process in batch:
                self.instances.start(process.full_name)
            return {}

        for process in batch:
            self.gate.mark(process.name, process.log_file)
        self.instances.protected(work, f"restarting {batch[0].name}")
        return [self.supervisor.process(process.full_name) for process in batch]

    def account(
        self, process: Process, action: str, release: str, begun: float | None = None, pid: int | None = None
    ) -> None:
        """Note the action on a process, its release, and the seconds since the action began."""
        self.report.programs[process.name] = {
            "name": process.name,
            "pid": process.pid if pid is None else pid,
            "release": release,
            "action": action,
            "seconds": 0.0 if begun is None else round(time.monotonic() - begun, 2),
        }

    # -- verify --------------------------------------------------------------------------------------------------------

    def verify(self, release: str) -> None:
        """Refuse a program that does not run the release."""
        now = {process.name: process for process in self.now()}
        for program in self.wanted.values():
            for name in program.process_names:
                if name not in now:
                    raise StepFailure(f"supervisord does not run {name}")
                self.gate.wait(program, now[name], release, VERIFY_TIMEOUT, fresh=False)
                if name not in self.report.programs:
                    self.account(now[name], "kept", release)

    # -- back --------------------------------------------------------------------------------------------------------

    def back(self, baseline: str | None) -> list[str]:
        """The programs that this transaction touched, as they were; their files are back already. Returns what went wrong."""
        touched, problems = self._touched(), []
        if not touched:
            return []
        self.instances.remove_candidates()
        added, changed, removed = self.supervisor.reload_config()
        standing, stopped = self._on_disk(), self.journal.entries["stopped"]
        for group in touched:
            program = standing.get(group) if baseline else None
            try:
                if program is None or baseline is None or group in {*added, *changed, *removed}:
                    self._replace_back(group, program)
                else:
                    self._restart_back(program, baseline)
                for process in self.now():
                    if process.group == group and process.name in stopped:
                        self.stop([process])
                    elif process.group == group and program and baseline:
                        self._gate_back(program, process, baseline)
            except StepFailure as failure:
                problems.append(f"{group} of the release {baseline} that ran before did not come back: {failure.why}")
        return problems

    def _gate_back(self, program: ReleaseProgram, process: Process, baseline: str) -> None:
        """Wait for a process of the former release. One that does not stay up there either does not hold the way back."""
        try:
            self.gate.wait(program, process, baseline)
        except StepFailure as failure:
            if self.instances.run_dir.record(process.name).get("release") != baseline:
                raise
            self.down.append(failure.why)

    def _replace_back(self, group: str, program: ReleaseProgram | None) -> None:
        def work() -> dict[str, t.Any]:
            self._take_out(group)
            self._put_in(program)
            return {}

        self.instances.protected(work, f"back {group}")

    def _restart_back(self, program: ReleaseProgram, baseline: str) -> None:
        """Restart the processes that no longer run the former release; the others go on with their tasks."""
        processes = [process for process in self.now() if process.group == program.group]
        todo = [process for process in processes if not self.instances.is_fresh(process, baseline)]
        for batch in batches(program, processes, todo):
            self.stop_and_start(batch)


def _group_of(path: str) -> str:
    return os.path.basename(path).removesuffix(".conf")


def batches(program: ReleaseProgram, processes: list[Process], todo: list[Process]) -> list[list[Process]]:
    """The processes that stop before the first of them starts again: of a singleton all of them."""
    if program.singleton and todo:
        return [processes]
    return [[process] for process in todo]
