# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The last lines of the apps' logs: found from the end, in rotated and compressed files too.

A log is read from its end backwards, so that a short answer from a big file is quick. Whatever a line is, it becomes fields
with the names of the JSON lines: those of the text format are taken apart, and a line that has no time (in a raw log, none
has) gets that of the line after it, or of the file's last change.
"""

from __future__ import annotations

import dataclasses
import datetime
import errno
import glob
import gzip
import json
import os
import re
import typing as t
import zlib
from collections import deque
from collections.abc import Iterable, Iterator

from .host import foreign
from .instance.discovery import find_apps

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_OTHER_NAMES = {"warn": "warning", "fatal": "critical", "notset": "debug", "exception": "error"}

_BLOCK = 256 * 1024
#: Bytes of a line, beyond which the rest of it is passed over. The runtime's own lines are far shorter.
_LONGEST_LINE = 16 * 1024 * 1024
#: Characters of a text that are handed on: a hundred lines of a mebibyte each would not fit through a connection.
_LONGEST_TEXT = 16 * 1024
#: The same of all fields of a line together, in which a number counts as so many.
_LONGEST_ENTRY = 4 * _LONGEST_TEXT
_NUMBER = 20
#: Seconds by which the lines of a file may be out of order: several workers write to it.
_DISORDER = 5.0
#: Seconds since 1970 at the end of the year 9998: a later time cannot be shown in every zone.
_LATEST = 253_370_764_800.0
#: Bytes that a compressed file is unpacked to at most: one of a few megabytes may have terabytes of nothing in it.
_MOST_UNPACKED = 8 * 1024**3
#: Pieces of data between holes in a file that are looked at, the last ones.
_MOST_EXTENTS = 10_000
#: How often a log is read again because it was rotated meanwhile.
_TRIES = 3

# A line of the text format.
_TEXT_LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z) (?P<level>[A-Z]+) +"
    r"(?P<node>[\w.-]+)\[(?P<pid>\d+)\] (?P<logger>.+?) (?P<id>[A-Za-z0-9._~+/=:;@-]{1,128}) (?P<message>.*)",
    re.ASCII | re.DOTALL,
)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class LogError(Exception):
    """The logs cannot be read as asked; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Query:
    """Which lines are wanted: the last ``lines`` of those to which everything applies."""

    lines: int = 100
    since: float = 0.0  # seconds since 1970
    level: int = 0  # the least
    request_id: str = ""
    text: str = ""
    pattern: re.Pattern[str] | None = None
    raw: bool = True

    @classmethod
    def parse(
        cls, lines: int, since: str, level: str, request_id: str, text: str, regex: str, raw: bool, now: float
    ) -> Query:
        """The query that the options mean, or LogError."""
        if not 1 <= lines <= 100_000:
            raise LogError(f"lines is {lines}: write a number from 1 to 100000.")
        word = level.strip().lower()
        word = _OTHER_NAMES.get(word, word)
        if word and word not in LEVELS:
            raise LogError(f"level is {level!r}: write one of {', '.join(LEVELS)}.")
        try:
            pattern = re.compile(regex) if regex else None
        except re.error as error:
            raise LogError(f"regex is {regex!r}, which is no regular expression of Python: {error}.") from None
        return cls(lines, moment(since, now), LEVELS.get(word, 0), request_id.strip(), text, pattern, raw)

    def wants(self, entry: Entry) -> bool:
        """Whether a line is one of those. A line without a level counts as one, since it may matter."""
        if self.since and entry.time < self.since:
            return False
        if self.level and entry.level and LEVELS.get(entry.level, 20) < self.level:
            return False
        if self.request_id and entry.fields.get("http.request.id") != self.request_id:
            return False
        if not self.text and self.pattern is None:
            return True
        searched = "\n".join(_text_of(value) for value in entry.fields.values())
        return self.text in searched and (self.pattern is None or self.pattern.search(searched) is not None)

    def may_want(self, line: bytes) -> bool:
        """False if a line cannot be one of those, found without parsing it."""
        for wanted in (self.request_id, self.text):
            # JSON may write other characters in another way.
            if wanted and re.fullmatch(r"[\w .:=?&%+,@-]+", wanted, re.ASCII) and wanted.encode() not in line:
                return False
        return True


@dataclasses.dataclass
class Entry:
    """One line of a log."""

    time: float  # seconds since 1970
    app: str
    instance: str
    fields: dict[str, t.Any]
    exact: bool = True  # or else the line has no time, and is not younger than this

    @property
    def level(self) -> str:
        return self.fields.get("log.level") or ""

    def as_dict(self) -> dict[str, t.Any]:
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Log:
    """The log of one instance: a file, and those that it was before it was rotated."""

    path: str
    app: str
    instance: str
    raw: bool = False

    def files(self) -> dict[str, int]:
        """Newest first, each with its inode."""
        folder, name = os.path.split(self.path)
        found = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    match = re.fullmatch(re.escape(name) + r"(?:\.(\d+)(\.gz)?)?", entry.name)
                    if match and entry.is_file(follow_symlinks=False):
                        # If both exist, the compressed one is not complete yet.
                        found.append((int(match.group(1) or 0), bool(match.group(2)), entry.path, entry.inode()))
        except OSError:
            return {}
        newest: dict[int, tuple[str, int]] = {}
        for number, _compressed, path, inode in sorted(found):
            newest.setdefault(number, (path, inode))
        return dict(newest.values())

    def last(self, query: Query) -> list[Entry]:
        """The last entries that the query wants, oldest first."""
        entries: list[Entry] = []
        for _try in range(_TRIES):
            before = self.files()
            entries = self._last(query, before)
            if self.files() == before:
                break  # if it was rotated meanwhile, lines may be there twice, or not at all
        return entries

    def _last(self, query: Query, files: Iterable[str]) -> list[Entry]:
        found: list[Entry] = []
        for path in files:
            try:
                with foreign.opened(path) as stream:
                    written = min(max(os.fstat(stream.fileno()).st_mtime, 0.0), _LATEST)
                    if query.since and written < query.since - _DISORDER:
                        break  # nothing in it, nor in an older one
                    for entry in self._entries(_lines_from_the_end(stream, path), written, query):
                        if query.since and entry.time < query.since - _DISORDER:
                            return found[::-1]
                        if query.wants(entry):
                            entry.fields = _bounded(entry.fields)
                            found.append(entry)
                            if len(found) == query.lines:
                                return found[::-1]
            except (OSError, foreign.Unreadable):
                continue  # removed a moment ago, or no log
        return found[::-1]

    def _entries(self, lines: Iterable[bytes], written: float, query: Query) -> Iterator[Entry]:
        """Of one file, from its end."""
        for line in lines:
            if line[:1] == b"{" and not query.may_want(line):
                continue
            entry = self._entry(line)
            if entry is None:
                fields = {"message": line.decode("utf-8", "backslashreplace")}
                if self.raw:
                    fields["log.logger"] = "raw"
                entry = Entry(written, self.app, self.instance, fields, exact=False)
            written = entry.time
            yield entry

    def _entry(self, line: bytes) -> Entry | None:
        """The fields of a line in one of our formats; None if it has another format."""
        if line[:1] == b"{":
            try:
                fields = {
                    name: _flat(value)
                    for name, value in foreign.parse(line.decode("utf-8", "backslashreplace")).items()
                }
                at = timestamp(fields["@timestamp"])
                fields["log.level"] = _level(fields.get("log.level"))
            except (ValueError, KeyError, TypeError, AttributeError):
                at = 0.0
            if at:
                return Entry(at, self.app, self.instance, fields)
        text = line.decode("utf-8", "backslashreplace")
        match = _TEXT_LINE.fullmatch(text)
        if match:
            fields = {
                "@timestamp": match["time"],
                "log.level": _level(match["level"]),
                "message": match["message"],
                "service.node.name": match["node"],
                "process.pid": int(match["pid"]),
                "log.logger": match["logger"],
            }
            if match["id"] != "-":
                fields["http.request.id"] = match["id"]
            return Entry(timestamp(match["time"]), self.app, self.instance, fields)
        return None


def find_logs(base_dir: str, conf_dir: str, name: str = "", log_dir: str = "", instance: str = "") -> list[Log]:
    """The logs of the apps on this host; those of one app, or of one instance."""
    folders = {app.name: app.log_dir for app in find_apps(base_dir, conf_dir)}
    if name and log_dir:
        folders[name] = log_dir
    if name and name not in folders:
        known = f"This host has {', '.join(sorted(folders))}." if folders else "There is no app on this host."
        raise LogError(f"no app is called {name!r}. {known}")
    logs = []
    for app in sorted(folders):
        if name in ("", app):
            logs += _logs_in(folders[app], app)
    if instance:
        names = sorted({log.instance for log in logs})
        if instance not in names:
            told = f"The logs here are those of {', '.join(names)}." if names else "There are no logs here."
            raise LogError(f"no instance is called {instance!r}. {told}")
        logs = [log for log in logs if log.instance == instance]
    return logs


def _logs_in(folder: str, app: str) -> list[Log]:
    found = set()
    for path in glob.glob(os.path.join(glob.escape(folder), f"{glob.escape(app)}[-.]*.log*")):
        match = re.fullmatch(
            rf"({re.escape(app)}(?:-\d+|\.[a-z][a-z0-9_-]*))(\.raw)?\.log(\.\d+(\.gz)?)?", os.path.basename(path)
        )
        if match:
            found.add((match.group(1), match.group(2) or ""))
    return [
        Log(os.path.join(folder, f"{instance}{raw}.log"), app, instance, bool(raw)) for instance, raw in sorted(found)
    ]


def read(logs: list[Log], query: Query) -> list[Entry]:
    """The last entries of all of them together, oldest first."""
    found: list[Entry] = []
    for log in logs:
        if query.raw or not log.raw:
            found += log.last(query)
    found.sort(key=lambda entry: entry.time)  # which leaves those of one file in their order
    return found[-query.lines :]


def moment(text: str, now: float) -> float:
    """The time that ``10m``, ``2h`` or an ISO time means; 0 for an empty text."""
    text = text.strip()
    if not text:
        return 0.0
    ago = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text, re.ASCII)
    if ago:
        return max(now - float(ago.group(1)) * _UNITS[ago.group(2)], 1.0)
    found = timestamp(text)
    if not found:
        raise LogError(
            f"since is {text!r}: write how long ago (90s, 10m, 2h, 3d), or a time such as 2026-01-31T14:30"
            " (UTC, unless it ends with another offset such as +02:00)."
        )
    return found


def timestamp(text: str) -> float:
    """Seconds since 1970 of an ISO time, UTC where it names no zone; 0 if it is none."""
    match = re.fullmatch(
        r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)? ?(Z|[+-]\d\d:?\d\d)?", text, re.ASCII
    )
    if not match:
        return 0.0
    day, minute, second, fraction, zone = match.groups()
    zone = "+00:00" if zone in (None, "Z") else zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
    try:
        found = datetime.datetime.fromisoformat(f"{day}T{minute or '00:00'}:{second or '00'}{zone}")
    except ValueError:
        return 0.0
    moment_found = found.timestamp() + float(f"0.{fraction or 0}")
    return moment_found if 0 < moment_found < _LATEST else 0.0


# --- files ----------------------------------------------------------------------------------------------------------


def _lines_from_the_end(stream: t.BinaryIO, path: str) -> Iterator[bytes]:
    if path.endswith(".gz"):
        return _unpacked_from_the_end(stream)
    return _plain_from_the_end(stream)


def _plain_from_the_end(stream: t.BinaryIO) -> Iterator[bytes]:
    """The lines of a file, the last first. Holes are passed over: an app can make its log as large as it likes of them."""
    pieces: deque[bytes] = deque()  # of a line whose beginning is not read yet
    size = 0
    for start, position in _extents_from_the_end(stream):
        while position > start:
            length = min(_BLOCK, position - start)
            position -= length
            stream.seek(position)
            first, *others = stream.read(length).split(b"\n")
            if others:
                pieces.appendleft(others.pop())
                yield from _not_empty(b"".join(pieces))
                pieces.clear()
                size = 0
                for line in reversed(others):
                    yield from _not_empty(line)
            pieces.appendleft(first)
            size += len(first)
            while size > _LONGEST_LINE and len(pieces) > 1:
                size -= len(pieces.pop())
    yield from _not_empty(b"".join(pieces))


def _extents_from_the_end(stream: t.BinaryIO) -> Iterator[tuple[int, int]]:
    """Where a file has data: beginning and end of each piece between two holes, the last first."""
    descriptor, end = stream.fileno(), stream.seek(0, os.SEEK_END)
    found: deque[tuple[int, int]] = deque(maxlen=_MOST_EXTENTS)
    position = 0
    try:
        while position < end:
            position = os.lseek(descriptor, position, os.SEEK_DATA)
            hole = os.lseek(descriptor, position, os.SEEK_HOLE)
            found.append((position, min(hole, end)))
            position = hole
    except OSError as error:
        if error.errno != errno.ENXIO:  # that is: nothing but a hole up to the end
            return iter([(0, end)])
    return reversed(found)


def _not_empty(line: bytes) -> tuple[bytes, ...]:
    line = line.rstrip(b"\r\n").lstrip(b"\0")  # a hole ends where a block of the disk begins
    return (line,) if line else ()


def _unpacked_from_the_end(stream: t.BinaryIO) -> Iterator[bytes]:
    """A compressed file can be read from its beginning only, so it is unpacked into memory, compressed again in pieces.

    That takes less than a tenth of its size; a rotated log may have gigabytes, since users choose the size.
    """
    packed: list[bytes] = []
    rest = b""
    try:
        with gzip.GzipFile(fileobj=stream) as unpacked:
            while unpacked.tell() < _MOST_UNPACKED:
                block = unpacked.read(8 * _BLOCK)
                if not block:
                    break
                complete, newline, rest_of_block = block.rpartition(b"\n")
                if not newline:
                    rest += rest_of_block[: max(0, _LONGEST_LINE - len(rest))]
                    continue
                packed.append(zlib.compress(rest + complete, 1))
                rest = rest_of_block
    except (EOFError, OSError, zlib.error):
        pass  # cut off: what came until there counts
    if rest:
        packed.append(zlib.compress(rest, 1))
    while packed:
        for line in reversed(zlib.decompress(packed.pop()).split(b"\n")):
            yield from _not_empty(line)


# --- values ---------------------------------------------------------------------------------------------------------


def _level(value: t.Any) -> str:
    word = _text_of(value).lower()
    return _OTHER_NAMES.get(word, word)


def _text_of(value: t.Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _flat(value: t.Any) -> t.Any:
    """Ours are texts and numbers. An app can write to its log whatever it likes; that must not become more than a text."""
    return value if value is None or isinstance(value, (str, int, float)) else json.dumps(value)


def _bounded(fields: dict[str, t.Any]) -> dict[str, t.Any]:
    """The fields of a line, as far as they are kept: an app can write lines of many megabytes, and as many of them as are asked for."""
    kept, left = {}, _LONGEST_ENTRY
    for name, value in fields.items():
        short = _shortened(value)
        left -= len(name) + (len(short) if isinstance(short, str) else _NUMBER)
        if left < 0:
            break
        kept[name] = short
    return kept


def _shortened(value: t.Any) -> t.Any:
    if not isinstance(value, str):
        return value
    more = f"... ({len(value) - _LONGEST_TEXT} characters more in the log)" if len(value) > _LONGEST_TEXT else ""
    # Half a surrogate pair cannot be sent on.
    return value[:_LONGEST_TEXT].encode("utf-8", "backslashreplace").decode() + more
