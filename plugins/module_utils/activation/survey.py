# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The survey before a transaction: the wanted release, the running processes, and the differences."""

from __future__ import annotations

import typing as t

from ..release.command_records import CommandRecords
from ..release.commands import text_of
from ..release.store import ReleaseStore
from ..supervisor.rpc import CannotReread, Process
from .errors import ActivationError
from .instances import UP, Instances
from .journal import Journal
from .options import Options
from .programs import Programs


class Survey:
    """Owns the wanted release, the release that was current before (baseline), and whether the program must be replaced."""

    def __init__(
        self,
        options: Options,
        store: ReleaseStore,
        journal: Journal,
        instances: Instances,
        programs: Programs,
        warn: t.Callable[[str], None],
    ) -> None:
        self.options = options
        self.store = store
        self.journal = journal
        self.instances = instances
        self.programs = programs
        self.warn = warn
        self.wanted = ""
        self.baseline: str | None = None
        self.reconfigure = False

    # -- which release -----------------------------------------------------------------------------------------------

    def resolve(self, may_be_missing: bool) -> None:
        """Decide which release is wanted, and refuse one that may not run."""
        store = self.store
        self.baseline = (
            self.journal.entries["baseline"] if self.journal.is_open else store.current() or store.remembered()
        )
        wanted = self._chosen()
        try:
            complete = store.is_complete(wanted)
        except ValueError as error:
            raise self._refusal(f"{error}.") from error
        failure = store.failed().get(wanted)
        if failure and not self.options.retry_failed and wanted != self.baseline:
            raise self._refusal(
                f"Release {wanted} failed when it was tried at {failure.get('at', '?')}"
                f" (step {failure.get('step', '?')}: {failure.get('message', '?')}). A rollback does not choose it;"
                " deploy it again to give it another chance."
            )
        if not complete and not may_be_missing:
            raise self._refusal(f"Release {wanted} of {self.options.name} is not on this host, or is half-built.")
        if wanted != self.baseline and not self.options.retry_failed:
            self._refuse_crossing(wanted)
        if complete and wanted != self.baseline:
            self.refuse_damaged(wanted)
        self.wanted = wanted

    def refuse_damaged(self, release: str) -> None:
        """Refuse a release that cannot start, before an instance stops for it."""
        damage = self.store.damage(release)
        if damage:
            raise self._refusal(
                f"Release {release} of {self.options.name} {damage}: it cannot start. Deploy what was in it again."
            )

    def _chosen(self) -> str:
        """The id of the release that the options name."""
        name, release = self.options.name, self.options.release
        if release == "previous":
            previous = self.store.previous()
            damage = self.store.damage_of_state()
            if previous is None and damage:
                raise self._refusal(
                    f"Which release of {name} was the previous one is not known: {self.store.state_file} {damage}. Name one by its id."
                )
            if previous is None:
                raise self._refusal(f"There is no release of {name} to go back to.")
            return previous
        if release == "current":
            if self.baseline is None:
                raise ActivationError(
                    f"No release of {name} has ever been in service here. Deploy one first. Nothing was changed.",
                    step="prepare",
                )
            return self.baseline
        meant = self.store.named(release)
        if len(meant) != 1:
            what = f"{len(meant)} releases begin" if meant else "No release begins"
            raise self._refusal(
                f"{what} with {release!r}: name one of {name} by its id, or by enough of its first digits."
            )
        return meant[0]

    def _refuse_crossing(self, wanted: str) -> None:
        """Refuse to go back across a release command, which no rollback undoes, unless that is asked for."""
        crossed = CommandRecords(self.store).crossed(wanted)
        if not crossed:
            return
        ran = "; ".join(
            f"release {release} ran `{record['command']}` at {record['at']}" for release, record in crossed.items()
        )
        across = f"Release {wanted} of {self.options.name} is older than a release command: {ran}."
        if self.options.across_release_command:
            self.warn(f"{across} It is put into service all the same, and what the command has changed stays.")
            return
        raise ActivationError(
            f"{across} A rollback does not undo that, and the older code may not fit what it has left. If it does, or once you have"
            " undone it (such as with flask db downgrade in the newer release), add -e flask_app_across_release_command=true."
            f" Release {self.baseline or 'none'} stays in service. Nothing was changed.",
            step="prepare",
            crossed=sorted(crossed),
        )

    def _refusal(self, why: str) -> ActivationError:
        """The error for a release that may not run; it lists the releases of the host."""
        failed, current = self.store.failed(), self.store.current()
        names = []
        for release in self.store.ids():
            remark = "current" if release == current else "failed" if release in failed else ""
            names.append(f"{release} ({remark})" if remark else release)
        there = f"Releases on this host: {', '.join(names)}." if names else "There are no releases on this host."
        return ActivationError(f"{why} {there} Nothing was changed.", step="prepare")

    # -- what runs and what differs ----------------------------------------------------------------------------------

    def inspect(self) -> None:
        """Look at the processes and the program's configuration."""
        options, instances = self.options, self.instances
        conf = options.program_conf
        instances.look()
        try:
            added, changed, removed = instances.supervisor.reload_config()
        except CannotReread:
            if not (conf and conf.differs()):
                raise
            added, changed, removed = [], [], []
        self.programs.look([*added, *changed, *removed], self.release_to_come())
        differs = conf is not None and conf.differs()
        ours = conf is not None and conf.content is not None and options.name in changed
        if options.name in changed and not ours:
            self.warn(
                f"The program of {options.name} was changed on disk since supervisord read it. This run ignores the"
                " change; the next deploy decides."
            )
        new_socket = any(unit.differs() for unit in options.socket_units) or not instances.socket.settled()
        self.reconfigure = differs or ours or new_socket or not instances.processes
        if not instances.processes and not differs and options.name not in added:
            raise ActivationError(
                f"supervisord has no program {options.name}. Deploy it first. Nothing was changed.", step="prepare"
            )

    def inspect_again(self) -> None:
        """Look at the program again after its former configuration was put back."""
        name = self.options.name
        added, changed, removed = self.instances.supervisor.reload_config()
        self.programs.look([*added, *changed, *removed], self.release_to_come())
        self.reconfigure = name in added or name in changed or not self.instances.processes
        self.instances.count_again()

    def release_to_come(self) -> str:
        """The wanted release, if it is not in service; else empty."""
        return self.wanted if self.wanted != self.baseline else ""

    def work(self) -> list[str]:
        """The names of all things to do; empty if everything is as wanted."""
        options, instances = self.options, self.instances
        work = []
        if self.reconfigure:
            work.append("program")
        if options.env_file is not None and options.env_file.differs():
            work.append("env")
        if self.wanted != self.baseline:
            work.append("release")
        work.extend(process.name for process in instances.serving() if not self.is_fresh(process))
        work.extend(process.name for process in instances.holders() if process.state not in UP)
        work.extend(self.programs.work(self.wanted))
        if options.restart:
            work.append("restart")
        if self.command_is_due():
            work.append("release command")
        return work

    def command_is_due(self) -> bool:
        """Whether the release command has to run: for a release that comes into service, and for one that serves without it."""
        commands = self.options.release_command
        if not commands:
            return False
        return self.wanted != self.baseline or not CommandRecords(self.store).is_done(self.wanted, text_of(commands))

    def is_fresh(self, process: Process) -> bool:
        """Whether the instance runs the wanted release with the wanted environment."""
        return self.instances.is_fresh(process, self.wanted)

    def can_go_back(self) -> bool:
        """Whether the release that was current before can still start."""
        if self.baseline is None or not self.store.is_complete(self.baseline):
            return False
        return not self.store.damage(self.baseline)

    def differences(self) -> list[dict[str, str]]:
        """The diff of the release and the files. Call it before anything is written."""
        conf, env = self.options.program_conf, self.options.env_file
        pairs = [(f"{self.options.name}: release", f"{self.baseline or 'none'}\n", f"{self.wanted}\n")]
        if self.command_is_due():
            pairs.append((f"{self.options.name}: release command", "", f"{text_of(self.options.release_command)}\n"))
        for file in (conf, *self.options.socket_units, *self.programs.files.values()):
            if file is not None and file.differs():
                before, after = file.on_disk() or b"", file.content or b""
                pairs.append((file.path, before.decode("utf-8", "replace"), after.decode("utf-8", "replace")))
        if env is not None and env.differs():
            before = "none\n" if env.on_disk() is None else "as before\n"
            pairs.append((env.path, before, "changed (its values are not shown)\n"))
        return [
            {"before_header": header, "after_header": header, "before": before, "after": after}
            for header, before, after in pairs
            if before != after
        ]
