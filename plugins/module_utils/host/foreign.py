# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an app can write, read by root: with bounds of type, size, depth, number and length, and fit to be printed.

The standard library alone, and no other file of the collection: on a host the memory guard has a copy of this file.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
import typing as t

#: Bytes of a record.
LARGEST_RECORD = 64 * 1024
#: Brackets within brackets of a JSON text.
DEEPEST = 20
#: Digits of a whole number; 64 bits have no more.
LONGEST_NUMBER = 20
#: A number in a record is below this: it fits into a float, a time and a counter.
LARGEST_NUMBER = 2**53
#: Characters of a text in a record, and of one line that is shown.
LONGEST_TEXT = 500
LONGEST_LINE = 4000
#: Entries of a directory that are looked at.
MOST_NAMES = 100_000
# What a terminal acts on, what begins another line, what turns the direction of reading, what nobody sees, and what cannot be encoded.
_UNPRINTABLE = (
    "\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f"
)
_IN_LINES = re.compile(f"[{_UNPRINTABLE}]")
_IN_ONE_LINE = re.compile(f"[\n{_UNPRINTABLE}]")
_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


class Unreadable(Exception):
    """It is there, and is not what it has to be; the text says what is wrong with it."""


def printable(text: str, most: int = LONGEST_TEXT) -> str:
    """The text on one line, at most so long, and without what a terminal acts on or an encoder stumbles over."""
    more = f"... ({len(text) - most} characters more)" if len(text) > most else ""
    return _IN_ONE_LINE.sub(_escaped, text[:most]) + more


def printable_lines(text: str) -> str:
    """The same for a text of several lines of our own."""
    return _IN_LINES.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode("ascii")


def parse(text: str) -> t.Any:
    """What a JSON text says. Numbers that are none for us (too long, infinite, NaN) become texts.

    :raises ValueError: when it is no JSON, or nested too deep
    """
    if _depth(text) > DEEPEST:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels")
    try:
        return json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=str)
    except (RecursionError, MemoryError) as error:
        raise ValueError(f"it cannot be read ({type(error).__name__})") from None


def _depth(text: str) -> int:
    if text.count("[") + text.count("{") <= DEEPEST:
        return 0
    depth = deepest = 0
    for found in _BRACKETS.finditer(text):
        if found.group() in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif found.group() in "]}":
            depth -= 1
    return deepest


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) <= LONGEST_NUMBER else digits


def _finite(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def opened(path: str) -> t.BinaryIO:
    """A regular file, to be read; nothing is waited for, and no link followed.

    :raises FileNotFoundError: when there is none
    :raises Unreadable: when it is something else
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unreadable(_kind_at(path) or f"cannot be opened: {error.strerror}") from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise Unreadable(_kind(mode))
    return os.fdopen(descriptor, "rb")


def read(path: str, most: int = LARGEST_RECORD) -> bytes:
    """The bytes of a regular file.

    :raises FileNotFoundError: when there is none
    :raises Unreadable: when it is something else, or larger
    """
    with opened(path) as stream:
        try:
            content = stream.read(most + 1)
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror}") from None
    if len(content) > most:
        raise Unreadable(f"is larger than {most // 1024} KiB")
    return content


def _kind_at(path: str) -> str:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return ""
    return "" if stat.S_ISREG(mode) else _kind(mode)


def _kind(mode: int) -> str:
    return f"is {next((name for test, name in _KINDS if test(mode)), 'a device')}, and must be a regular file"


def mapping(path: str, most: int = LARGEST_RECORD) -> dict[str, t.Any]:
    """The JSON object that a file holds; empty if there is no file.

    :raises Unreadable: when it is there, and holds none
    """
    try:
        content = read(path, most)
    except FileNotFoundError:
        return {}
    try:
        found = parse(content.decode("utf-8", "replace"))
    except ValueError as error:
        raise Unreadable(f"is not JSON: {printable(str(error))}") from None
    if not isinstance(found, dict):
        raise Unreadable("holds no JSON object")
    return found


def record(path: str, fields: dict[str, t.Any]) -> dict[str, t.Any]:
    """A small JSON object: those of its fields that are known, each of its kind; empty if there is none.

    :param fields: the kind of each: ``int`` (not negative), ``float`` (the same), ``bool``, ``str``, or a pattern of a text
    :raises Unreadable: when it is there, and is not such a record
    """
    found = mapping(path)
    known = {name: found[name] for name in fields if found.get(name) is not None}
    for name, value in known.items():
        if not _is(value, fields[name]):
            raise Unreadable(f"has {name} = {printable(repr(value), 60)}")
    return {name: printable(value) if isinstance(value, str) else value for name, value in known.items()}


def _is(value: t.Any, kind: t.Any) -> bool:
    if isinstance(kind, re.Pattern):
        return isinstance(value, str) and kind.fullmatch(value) is not None
    if kind in (int, float):
        kinds = (int,) if kind is int else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool) and 0 <= value < LARGEST_NUMBER
    return isinstance(value, kind)


def names(folder: str, beginning: str, most: int = MOST_NAMES) -> list[str]:
    """The names in a directory that begin so, in their order. Of one that holds more than ``most``, those seen first."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= most:
                    break
                if entry.name.startswith(beginning):
                    found.append(entry.name)
    except OSError:
        return []
    return sorted(found)
