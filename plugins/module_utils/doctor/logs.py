# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the log of an instance for its workers and for its last tries to boot."""

from __future__ import annotations

import re

from ..diagnosis import phrases
from ..diagnosis.log_tail import plain_lines
from .state import Log

#: Messages of gunicorn (gunicorn/arbiter.py).
STARTING = "Starting gunicorn"
SHUTTING_DOWN = "Shutting down: Master"
WORKER_TIMEOUT = "WORKER TIMEOUT (pid:%s)"
KILLED = "Worker (pid:%s) was sent SIGKILL! Perhaps out of memory?"
#: The line that faulthandler writes above a stack.
NEWEST_FIRST = "most recent call first"
#: Lines of the log, and of the raw log, in which the words of a try are looked for.
_LINES = 200
_RAW_LINES = 40
#: Seconds before the log's last change in which the raw log was written for the same reason.
_TOGETHER = 5.0
#: Characters of a stack that are searched for frames.
_LONGEST_STACK = 20000
_LONGEST_ERROR = 200
#: The last line of a traceback, or the same error within a line that the app logs.
_REFUSED = (
    r"(?:PermissionError: \[Errno (?:1|13)\]|OSError: \[Errno 30\]|\[Errno (?:13|30)\]"
    r"|attempt to write a readonly database|unable to open database file).*"
)


def last_words(log: Log, tries: int = 1) -> list[str]:
    """The log lines of the last tries to boot."""
    lines = plain_lines(log.text)[-_LINES:]
    starts = [number for number, line in enumerate(lines) if STARTING in line]
    # A crash before gunicorn says that it starts has its words after the last master's end.
    lines = lines[starts[-min(tries, len(starts))] :] if starts else lines
    ends = [number for number, line in enumerate(lines) if SHUTTING_DOWN in line]
    if tries == 1 and ends and len(lines) > ends[-1] + 2:
        lines = lines[ends[-1] + 1 :]
    # A process that ended below Python, or before it had a log, left its message elsewhere at about the same time.
    return _raw_since(log, log.changed - _TOGETHER)[-_RAW_LINES:] + lines


def since_start(log: Log, started: float | None) -> str:
    """The lines since the last master started, including those outside of its log."""
    lines = plain_lines(log.text)
    starts = [number for number, line in enumerate(lines) if STARTING in line]
    return "\n".join((lines[starts[-1] :] if starts else lines) + _raw_since(log, started or 0.0))


def _raw_since(log: Log, moment: float) -> list[str]:
    """The raw log, if anything was written to it since then."""
    return plain_lines(log.raw) if log.raw_changed >= moment else []


def late_workers(text: str) -> list[str]:
    """Pids of the workers that gunicorn killed because they gave no sign of life."""
    return re.findall(_pattern(WORKER_TIMEOUT), text)


def killed_workers(text: str) -> list[str]:
    """Return the pids of the workers that another process killed."""
    late = late_workers(text)
    return [pid for pid in re.findall(_pattern(KILLED), text) if pid not in late]


def _pattern(phrase: str) -> str:
    return re.escape(phrase).replace("%s", r"(\d+)")


def requests_cut_off(text: str) -> list[str]:
    """The requests that such workers were serving."""
    return re.findall(re.escape(phrases.CUT_OFF) + " (.+)", text)


def refused_writes(text: str) -> list[str]:
    """The errors of writes that the app's user may not make."""
    return [line.strip()[:_LONGEST_ERROR] for line in re.findall(_REFUSED, text, re.MULTILINE)]


def blocking_frame(text: str, root: str) -> str:
    """File, line and function at which a worker hung: the innermost frame of the app's own code, else the innermost."""
    starts = rf"{re.escape(phrases.WORKER_BLOCKED)}|{re.escape(phrases.STACKS)}\d+:\d\d:\d\d"
    ends = [found.end() for found in re.finditer(starts, text)]
    stack = text[ends[-1] :][:_LONGEST_STACK] if ends else ""
    frames = re.findall(r'File "([^"]+)", line (\d+),? in (\S+)', stack)
    if not frames:
        return ""
    frames = frames if NEWEST_FIRST in stack else frames[::-1]
    own = [frame for frame in frames if frame[0].startswith(root + "/") and "/src/" in frame[0]]
    path, line, function = (own or frames)[0]
    return f"{path}:{line} in {function}"
