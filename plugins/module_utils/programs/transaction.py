# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make the programs of one scope what is declared, or leave the host as it was.

::

    look -> refuse -> files -> supervisord reads them -> the groups that changed, and no other -> wait
                        \\______________________ back _______________________/

A group is what supervisord adds and removes: a program or listener of its own, or several programs that belong
together. Each has one file in conf.d, whose first line names its scope; other files are never touched. The files are
the memory of an interrupted run: whatever of ours supervisord does not run as its file says is put right by the next.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import os
import re
import signal
import typing as t

from ..host.atomic import remove_file, sync_directory, write_atomically
from ..supervisor import program_files, program_settings
from ..supervisor.program_scope import GONE, files_of, scope_of
from ..supervisor.rpc import (
    STOPPABLE_STATES,
    CannotReread,
    NotRunning,
    Process,
    Supervisor,
    SupervisorError,
    Unreachable,
    unusable,
)
from .errors import NotStarted, ProgramsError
from .files import ProgramFile, file_owner, mode_of
from .groups import START_TIMEOUT, Groups
from .lock import alone
from .requirements import account_of, start_obstacles, with_account


@dataclasses.dataclass(frozen=True)
class Options:
    """The parameters; the documentation of the module `programs` describes them."""

    scope: str
    programs: t.Sequence[program_settings.Entry]
    listeners: t.Sequence[program_settings.Entry]
    conf_dir: str
    log_dir: str
    supervisor_socket: str
    start_timeout: float = 30.0


class Programs:
    """One run of the transaction. Call `run`, or `predict` for check mode; not both."""

    def __init__(self, options: Options, warn: t.Callable[[str], None] = lambda text: None) -> None:
        self.options = options
        self.warn = warn
        self.supervisor = Supervisor(options.supervisor_socket)
        self._entries: dict[str, list[tuple[str, program_settings.Entry]]] = {}
        self._files: dict[str, ProgramFile] = {}
        self._running: dict[str, list[Process]] = {}
        self._groups = Groups(self.supervisor, self._entries, self._files, options.log_dir, options.start_timeout)

    def checkpoint(self, name: str) -> None:
        """Called between two steps. Tests interrupt here."""

    # -- the two ways through ----------------------------------------------------------------------------------------

    def run(self) -> dict[str, t.Any]:
        """Make it so; raises ProgramsError and leaves the host as it was."""
        self._refuse([*self._wrong(), *self._missing_on_host()])
        with alone(self.options.conf_dir):
            return self._run()

    def _run(self) -> dict[str, t.Any]:
        self._look()
        try:
            self._running = self._groups.now(patience=START_TIMEOUT)
            pending = self._pending()
        except SupervisorError as error:
            raise ProgramsError(unusable(error)) from error
        changed = [file for file in self._files.values() if file.differs()]
        actions = self._actions(pending)
        if not changed and not actions:
            self._complain()
            return self._result(False, actions)
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGTERM)}
        try:
            actions = self._transact(pending)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return self._result(True, actions)

    def predict(self) -> dict[str, t.Any]:
        """Return the result that `run` would have, on a host in any state. Writes nothing and touches no process."""
        self._refuse(list(self._wrong()))
        for text in self._missing_on_host():
            self.warn(f"{text} This is a check: something before it may only have pretended to make that.")
        self._look()
        try:
            self._running = self._groups.now()
            pending = self._pending()
        except (Unreachable, CannotReread):
            pending = set()
        except SupervisorError as error:
            raise ProgramsError(unusable(error)) from error
        actions = self._actions(pending, predicted=True)
        return self._result(bool(actions) or any(file.differs() for file in self._files.values()), actions)

    # -- look --------------------------------------------------------------------------------------------------------

    def _wrong(self) -> t.Iterator[str]:
        """Problems that can be found without the host."""
        options = self.options
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", options.scope):
            yield f"scope is {options.scope!r}: write letters, digits and _ . - only."
        for kind, entries in (("program", options.programs), ("eventlistener", options.listeners)):
            for entry in entries:
                name = entry.get("name") or "(no name)"
                yield from (f"{name}: {text}" for text in program_settings.problems(kind, entry))
        yield from program_settings.collisions(options.programs, options.listeners)

    def _missing_on_host(self) -> t.Iterator[str]:
        """Things that the host lacks: supervisord would start nothing, or would not even read its files."""
        for entry in [*self.options.programs, *self.options.listeners]:
            name = entry["name"]
            try:
                account = account_of(entry["user"])
            except KeyError:
                yield f"{name}: this host has no user {entry['user']}. Make it before, or name another."
                continue
            yield from (f"{name}: {text}" for text in start_obstacles(entry, account))
            for setting in ("stdout_logfile", "stderr_logfile"):
                folder = os.path.dirname(entry.get(setting) or "")
                if folder.startswith("/") and not os.path.isdir(folder):
                    yield f"{name}: {setting} is in {folder}, and there is no such directory. Make it before."

    def _refuse(self, problems: list[str]) -> None:
        if problems:
            what = "A program cannot be used" if len(problems) == 1 else "These programs cannot be used"
            lines = "\n".join(f"- {problem}" for problem in dict.fromkeys(problems))
            raise ProgramsError(f"{what}:\n{lines}\nNothing was changed.", problems=problems)

    def _look(self) -> None:
        """Return the files of the scope, old and new; refuse files of another owner."""
        options = self.options
        for entry in options.programs:
            self._entries.setdefault(entry.get("group") or entry["name"], []).append(("program", entry))
        for entry in options.listeners:
            self._entries.setdefault(entry["name"], []).append(("eventlistener", entry))
        programs, listeners = (
            [with_account(entry) for entry in part] for part in (options.programs, options.listeners)
        )
        wanted = program_files.render(options.scope, programs, listeners, options.log_dir)
        ours, taken = self._on_disk()
        for group in ours:
            self._files[group] = ProgramFile(self._path(group), ours[group], None, old_mode=mode_of(self._path(group)))
        conflicts = []
        for group, text in wanted.items():
            path = self._path(group)
            for name in sorted(program_files.names_in(text) | {group}):
                if name in taken:
                    conflicts.append(
                        f"{name}: {taken[name]} defines a program of that name already. Choose another name."
                    )
            mode = 0o600 if any(entry.get("environment") for _kind, entry in self._entries[group]) else 0o644
            self._files[group] = ProgramFile(path, ours.get(group), text.encode("utf-8"), mode, mode_of(path))
            if group not in ours and os.path.lexists(path):
                conflicts.append(f"{group}: {path} is there and was not written by pygun.stack.programs. Move it away.")
        self._refuse(conflicts)

    def _path(self, group: str) -> str:
        return os.path.join(self.options.conf_dir, f"{group}.conf")

    def _on_disk(self) -> tuple[dict[str, bytes], dict[str, str]]:
        """The files of this scope by group, and the names that other files define."""
        ours: dict[str, bytes] = {}
        taken: dict[str, str] = {}
        folder = glob.escape(self.options.conf_dir)
        for path in sorted(glob.glob(f"{folder}/*.conf") + glob.glob(f"{folder}/*.ini")):
            try:
                with open(path, "rb") as stream:
                    content = stream.read()
            except OSError:  # a link to nothing, which supervisor passes over
                continue
            text = content.decode("utf-8", "replace")
            if scope_of(text) == self.options.scope and path.endswith(".conf"):
                ours[os.path.basename(path)[: -len(".conf")]] = content
            else:
                taken.update(dict.fromkeys(program_files.names_in(text), path))
        return ours, taken

    def _left_behind(self) -> list[str]:
        """Groups whose removal was interrupted."""
        paths = files_of(self.options.scope, self.options.conf_dir)
        return [os.path.basename(path)[: -len(".conf" + GONE)] for path in paths if path.endswith(GONE)]

    def _pending(self) -> set[str]:
        """Groups that supervisord does not run as the files on disk say; those of others among them."""
        try:
            added, changed, _removed = self.supervisor.reload_config()
        except CannotReread:
            if not any(file.differs() for file in self._files.values()):
                raise
            added, changed = [], []
        return {*added, *changed}

    # -- change ------------------------------------------------------------------------------------------------------

    def _actions(self, pending: t.Collection[str], predicted: bool = False) -> dict[str, str]:
        """The groups to add, to change and to remove. All other groups stay as they are."""
        actions = {}
        for group, file in self._files.items():
            if file.after is None:
                actions[group] = "removed"
            elif group in pending or (predicted and file.before != file.after):
                actions[group] = "changed" if group in self._running else "added"
        for group in self._left_behind():
            actions.setdefault(group, "removed" if group not in self._entries else "changed")
        return actions

    def _transact(self, pending: t.Collection[str]) -> dict[str, str]:
        stopped = {process.full_name for group in self._running.values() for process in group if process.pid == 0}
        actions: dict[str, str] = {}
        try:
            for file in self._files.values():
                self._write(file)
            self.checkpoint("files")
            added, changed, _removed = self.supervisor.reload_config()
            actions = self._actions({*added, *changed, *pending})
            self.checkpoint("read")
            for action in ("removed", "changed", "added"):
                for group in self._groups.in_order(name for name in actions if actions[name] == action):
                    self._groups.take_out(group)
                    self.checkpoint(f"took out {group}")
                    if action != "removed":
                        self._groups.put_in(group)
                        self.checkpoint(f"put in {group}")
            for group in self._groups.in_order(actions):
                if actions[group] != "removed":
                    self._groups.wait(group)
        except (NotStarted, SupervisorError, OSError) as error:
            raise self._back(error, actions, stopped) from error
        for group, file in self._files.items():
            if file.after is None:
                remove_file(self._path(group) + GONE)
        for group in self._left_behind():
            remove_file(self._path(group) + GONE)
        return actions

    def _write(self, file: ProgramFile) -> None:
        if not file.differs():
            return
        if file.after is None:
            os.rename(file.path, file.path + GONE)
            sync_directory(os.path.dirname(file.path))
        else:
            write_atomically(file.path, file.after, file.mode, *file_owner())

    # -- back --------------------------------------------------------------------------------------------------------

    def _back(self, error: Exception, actions: dict[str, str], stopped: set[str]) -> ProgramsError:
        """The earlier files and processes again."""
        problems = []
        try:
            for file in self._files.values():
                if file.before is not None:
                    remove_file(file.path + GONE)
                    write_atomically(file.path, file.before, file.old_mode, *file_owner())
                elif remove_file(file.path):
                    sync_directory(os.path.dirname(file.path))
            try:
                self.supervisor.reload_config()
            except CannotReread:
                if actions:
                    raise
            for group in self._groups.in_order(actions):
                self._groups.take_out(group)
                if group in self._running and self._files.get(group) and self._files[group].before is not None:
                    self.supervisor.add_group(group)
            for process in self.supervisor.all_processes():
                if process.full_name in stopped and process.group in actions and process.state in STOPPABLE_STATES:
                    with contextlib.suppress(NotRunning):
                        self.supervisor.stop(process.full_name)
        except (NotStarted, SupervisorError, OSError) as failure:
            problems.append(str(failure))
        why = str(error)
        parts = [f"The programs of {self.options.scope} could not be made what is declared: {why}."]
        log: list[str] = []
        if isinstance(error, CannotReread):
            parts[0] = f"With the programs of {self.options.scope}, supervisord cannot read its configuration: {why}."
        if isinstance(error, NotStarted) and error.log:
            log = error.log
            parts.append(f"Last lines of {error.log_file}:\n" + "\n".join(f"    {line}" for line in log))
        if problems:
            parts.append(
                f"THE WAY BACK FAILED TOO: {'; '.join(problems)}. Look at `supervisorctl status`, correct the cause, and run"
                " this again."
            )
        else:
            parts.append("The files and programs are as they were before. Correct the program, and run this again.")
        program = error.program if isinstance(error, NotStarted) else ""
        return ProgramsError("\n".join(parts), program=program or None, log=log, rolled_back=not problems)

    # -- what is told ------------------------------------------------------------------------------------------------

    def _complain(self) -> None:
        """Nothing is to be done; a program that gave up meanwhile is not this run's, but should be known."""
        for group in self._entries:
            for process in self._running.get(group, ()):
                if process.state in ("FATAL", "BACKOFF", "UNKNOWN"):
                    self.warn(
                        f"{process.full_name} is {process.state}{f' ({process.spawn_error})' if process.spawn_error else ''};"
                        f" `supervisorctl tail {process.full_name}` may show why. Its configuration is unchanged, so this run"
                        " does not touch it."
                    )

    def _result(self, changed: bool, actions: dict[str, str]) -> dict[str, t.Any]:
        programs = []
        with contextlib.suppress(SupervisorError):
            self._running = self._groups.now()
        for group in sorted({*self._entries, *actions}):
            action = actions.get(group, "kept")
            for process in self._running.get(group, ()):
                programs.append(
                    {"name": process.name, "group": group, "state": process.state, "pid": process.pid, "action": action}
                )
            if group not in self._running and action != "kept":
                programs.append({"name": group, "group": group, "state": None, "pid": 0, "action": action})
        return {"changed": changed, "programs": programs, "diff": self._diff()}

    def _diff(self) -> list[dict[str, str]]:
        found = []
        for _group, file in sorted(self._files.items()):
            if file.before != file.after:
                old, new = ((content or b"").decode("utf-8", "replace") for content in (file.before, file.after))
                before, after = program_files.comparison(old, new)
                found.append({"before_header": file.path, "after_header": file.path, "before": before, "after": after})
        return found
