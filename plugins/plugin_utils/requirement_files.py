# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Characters in requirement files that no installer can mean, found before a host is asked to install from them.

A byte order mark and Windows line ends are left alone: pip and uv both read over them. Over anything else they stumble, each
in a way of its own, and mostly without saying what it is that one cannot see.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from .text import foreign, unseen

_OTHER_FILE = re.compile(r"(?:-r|-c|--requirements?|--constraints?)(?:\s+|=)(\S+)")


def strange(path: Path, _read: set[Path] | None = None) -> Iterator[str]:
    """What is strange in a requirement file, and in those that it names: file, line, column and code point."""
    read = _read if _read is not None else set()
    if path in read or not path.is_file():
        return
    read.add(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        yield f"{path}, line {line} is not UTF-8. Save the file in that encoding."
        return
    for number, line in enumerate(text.split("\n"), 1):
        # In a comment everything is welcome.
        entry = re.sub(r"(^|\s)#.*", "", line.rstrip("\r"))
        found = unseen(entry, "\t\f")
        lookalike = foreign(entry)
        if found:
            yield f"{path}, line {number}, {found[0].partition(', ')[2]}. Type the line again."
        elif "in place of" in lookalike:
            yield f"{path}, line {number}, {lookalike}. Type the line again."
        other = _OTHER_FILE.match(entry.strip())
        if other and "://" not in other.group(1):
            yield from strange((path.parent / other.group(1)).resolve(), read)
