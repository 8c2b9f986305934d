# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The last lines of a log, as a person reads them."""

from __future__ import annotations

import os
import re

from ..host import foreign

LAST_LINES = 30
_READ_AT_MOST = 256 * 1024


def raw_log(path: str) -> str:
    """The raw log of an instance: its other output, which comes through supervisord."""
    return f"{path[:-4] if path.endswith('.log') else path}.raw.log"


class LogMark:
    """The present end of an instance's log and of its raw log, so that only later lines are read."""

    def __init__(self, path: str, position: list[int] | None = None) -> None:
        self.path = path
        self._position = position or [*_identity(path), *_identity(raw_log(path))]

    @property
    def position(self) -> list[int]:
        """The values with which another process makes the same mark."""
        return self._position

    def since(self) -> str:
        """The lines since the mark, even if a file was rotated once in between; the raw log comes first."""
        inode, size, raw_inode, raw_size = self._position
        raw = _since(raw_log(self.path), raw_inode, raw_size)
        if raw and not raw.endswith("\n"):
            raw += "\n"
        return raw + _since(self.path, inode, size)


def _since(path: str, old_inode: int, old_size: int) -> str:
    inode, size = _identity(path)
    if inode == old_inode and size >= old_size:
        return _read(path, old_size)
    rotated, _size = _identity(path + ".1")
    before = _read(path + ".1", old_size) if rotated == old_inode and rotated else ""
    return before + _read(path, 0)


def _identity(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_ino, found.st_size


def _read(path: str, offset: int) -> str:
    try:
        with foreign.opened(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            stream.seek(max(offset, size - _READ_AT_MOST))
            return stream.read(_READ_AT_MOST).decode("utf-8", "replace")
    except (OSError, foreign.Unreadable):
        return ""


def last_text(path: str) -> str:
    """The end of a log file; empty if there is none."""
    return _read(path, 0)


_TEXT_LINE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z ([A-Z]+) +\S+\[\d+\] \S+ \S+ (.*)")


def plain_lines(text: str) -> list[str]:
    """Log lines as a person reads them: a line of an instance's log becomes its level, message and traceback.

    Whatever an app has written, a terminal may be shown them.
    """
    return [foreign.printable(line, foreign.LONGEST_LINE) for line in _unpacked(text)]


def _unpacked(text: str) -> list[str]:
    lines: list[str] = []
    for line in text.split("\n"):
        found = _TEXT_LINE.fullmatch(line)
        if found:
            lines.extend(f"{found.group(1).lower()} {found.group(2)}".replace("\\n", "\n").splitlines())
            continue
        if line.startswith("{"):
            try:
                record = foreign.parse(line)
            except ValueError:
                record = None
            if isinstance(record, dict):
                message = record.get("message", record.get("msg", record.get("event")))
                if message is not None:
                    level = record.get("log.level", record.get("level", ""))
                    lines.extend(_filled(f"{level} {message}".strip()))
                    for key in ("error.stack_trace", "exception", "traceback", "exc_info", "stack"):
                        if isinstance(record.get(key), str):
                            lines.extend(_filled(record[key]))
                    continue
        if line.strip():
            lines.append(line.rstrip())
    return lines


def _filled(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def shown(lines: list[str]) -> list[str]:
    """The last lines, as an error shows them: without frames that are not the app's, without repetitions, none very long."""
    return [foreign.printable(line) for line in _distinct(_shorten_tracebacks(lines))[-LAST_LINES:]]


#: How a log entry begins when it is plain: `[` of gunicorn, or the level.
_ENTRY = re.compile(r"\[|(?:debug|info|warning|error|critical)\b", re.IGNORECASE)
_VARYING = re.compile(r"0x[0-9a-f]+|\d+")


def _distinct(lines: list[str]) -> list[str]:
    """Leave out log entries that differ from an earlier one in numbers only: each worker that fails logs the same."""
    entries: list[list[str]] = []
    for line in lines:
        if not entries or _ENTRY.match(line):
            entries.append([])
        entries[-1].append(line)
    first: dict[str, list[str]] = {}
    for entry in entries:
        first.setdefault(_VARYING.sub("0", "\n".join(entry)), entry)
    return [line for entry in first.values() for line in entry]


_LOADER_FRAME = re.compile(
    r'(\s*)File "(?:.*/site-packages/gunicorn/|.*/pygun_runtime/|<frozen |.*/importlib/__init__\.py").*'
)


def _shorten_tracebacks(lines: list[str]) -> list[str]:
    """Leave out the frames of gunicorn, of the runtime and of the import machinery: they are the same in every failure."""
    shown = []
    indent = None
    for line in lines:
        frame = _LOADER_FRAME.match(line)
        if frame:
            indent = len(frame.group(1))
            continue
        if indent is not None and len(line) - len(line.lstrip()) > indent:
            continue  # the source line of a frame left out, or the carets under it
        indent = None
        shown.append(line)
    return shown
