# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The groups of programs: stop and start them, and wait until they count as started."""

from __future__ import annotations

import contextlib
import time
import typing as t

from ..diagnosis.log_tail import LogMark, last_text, plain_lines
from ..supervisor import conf, program_files, program_settings
from ..supervisor.rpc import (
    STOPPABLE_STATES,
    STOPPED_STATES,
    BadName,
    NotRunning,
    Process,
    ShuttingDown,
    Supervisor,
    Unreachable,
)
from .errors import NotStarted
from .files import ProgramFile

POLL = 0.05
#: Seconds within which supervisord has to answer.
ANSWER_TIMEOUT = 5.0
#: Seconds that supervisord may take to listen after it was started, also on a busy host.
START_TIMEOUT = 15.0
#: The last lines of a program's log that a message shows.
LOG_LINES = 15


class Groups:
    """The groups of programs as supervisord runs them. Owns the marks: the ends of the logs before a group is put in.

    :param entries: the declared programs of each group
    :param files: the file of each group, as it is and as it shall be
    """

    def __init__(
        self,
        supervisor: Supervisor,
        entries: dict[str, list[tuple[str, program_settings.Entry]]],
        files: dict[str, ProgramFile],
        log_dir: str,
        start_timeout: float,
    ) -> None:
        self.supervisor = supervisor
        self.entries = entries
        self.files = files
        self.log_dir = log_dir
        self.start_timeout = start_timeout
        self._marks: dict[str, LogMark] = {}

    def now(self, patience: float = 0.0) -> dict[str, list[Process]]:
        """The groups that supervisord runs. It may have just started, and not listen yet."""
        give_up = time.monotonic() + patience
        while True:
            try:
                found = self.supervisor.all_processes()
                break
            except (Unreachable, ShuttingDown):
                if time.monotonic() > give_up:
                    raise
                time.sleep(POLL)
        groups: dict[str, list[Process]] = {}
        for process in found:
            groups.setdefault(process.group, []).append(process)
        return groups

    def in_order(self, groups: t.Iterable[str]) -> list[str]:
        """As supervisord starts them: a low priority first."""

        def key(group: str) -> tuple[int, str]:
            priorities = [
                int(entry["priority"]) if entry.get("priority") is not None else (999 if kind == "program" else -1)
                for kind, entry in self.entries.get(group, ())
            ]
            return min(priorities, default=999), group

        return sorted(groups, key=key)

    def take_out(self, group: str) -> None:
        """Stop a group and have supervisord forget it."""
        processes = self.supervisor.processes(group)
        if not processes and group not in self._known():
            return
        for process in processes:
            if process.state in STOPPABLE_STATES:
                with contextlib.suppress(NotRunning):
                    self.supervisor.stop(process.full_name)
        begun = time.monotonic()
        while True:
            left = [process for process in self.supervisor.processes(group) if process.state not in STOPPED_STATES]
            if not left:
                break
            if time.monotonic() - begun > self._patience_to_stop(group):
                raise NotStarted(f"{left[0].name} (pid {left[0].pid}) does not stop", left[0].full_name)
            time.sleep(POLL)
        with contextlib.suppress(BadName):
            self.supervisor.remove_group(group)

    def _known(self) -> set[str]:
        return {process.group for process in self.supervisor.all_processes()}

    def _patience_to_stop(self, group: str) -> float:
        """By the longer of the stop times that its old and its new file give."""
        files = (self.files[group].before, self.files[group].after) if group in self.files else ()
        parsed = [conf.parse_text((content or b"").decode("utf-8", "replace")) for content in files]
        said = [conf.get(one, section, "stopwaitsecs") for one in parsed for section in one.sections()]
        return max([conf.STOPWAITSECS, *(int(text) for text in said if text.isdigit())]) + conf.STOP_MARGIN

    def put_in(self, group: str) -> None:
        """Add a group to supervisord from its file; programs with autostart start."""
        for path in self._log_files(group):
            self._marks[path] = LogMark(path)
        self.supervisor.add_group(group)

    def _log_files(self, group: str) -> list[str]:
        """The files that the processes of a group may log to, before supervisord knows the group."""
        found = []
        for kind, entry in self.entries.get(group, ()):
            for line in program_files.section(kind, entry, self.log_dir).splitlines():
                setting, _equals, value = line.partition("=")
                if setting in ("stdout_logfile", "stderr_logfile") and value.startswith("/"):
                    for number in range(int(entry.get("numprocs") or 1)):
                        shown = value.replace("%(program_name)s", entry["name"])
                        found.append(
                            shown.replace("%(process_num)d", str(number + int(entry.get("numprocs_start") or 0)))
                        )
        return found

    # -- wait --------------------------------------------------------------------------------------------------------

    def wait(self, group: str) -> None:
        """Until all processes of the group that start by themselves are up, which supervisord says after startsecs."""
        entries = {entry["name"]: entry for _kind, entry in self.entries[group]}
        begun = time.monotonic()
        waiting = {process.full_name for process in self.supervisor.processes(group)}
        while waiting:
            for process in self.supervisor.processes(group):
                if process.full_name not in waiting:
                    continue
                entry = entry_of(entries, process.name)
                if entry.get("autostart") is False or is_up(process, entry):
                    waiting.discard(process.full_name)
                    continue
                startsecs = entry["startsecs"] if entry.get("startsecs") is not None else 1
                late = time.monotonic() - begun > startsecs + self.start_timeout
                if process.state in ("EXITED", "FATAL", "UNKNOWN") or late:
                    raise self._not_started(process)
            if waiting:
                time.sleep(POLL)

    def _not_started(self, process: Process) -> NotStarted:
        info = self.supervisor.call("supervisor.getProcessInfo", process.full_name)
        why = process.state
        if process.spawn_error:
            why += f": {process.spawn_error}"
        if process.state == "EXITED":
            why += f" with code {process.exit_status}"
        for path in (info["stderr_logfile"], info["stdout_logfile"]):
            mark = self._marks.get(path)
            lines = plain_lines(mark.since() if mark else last_text(path))[-LOG_LINES:]
            if lines:
                return NotStarted(f"{process.name} did not start ({why})", process.full_name, lines, path)
        return NotStarted(f"{process.name} did not start ({why}) and logged nothing", process.full_name)


def is_up(process: Process, entry: program_settings.Entry) -> bool:
    if process.state == "RUNNING":
        return True
    if process.state != "EXITED" or str(entry.get("autorestart")).lower() in ("true", "yes", "on", "1"):
        return False
    codes = entry.get("exitcodes") or [0]
    return process.exit_status in [int(code) for code in codes]  # it has done what it had to do


def entry_of(entries: dict[str, program_settings.Entry], process: str) -> program_settings.Entry:
    """The program that a process belongs to: mailer-3 is one of mailer's."""
    return entries.get(process) or entries[process.rpartition("-")[0]]
