# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lines of requirement files, as pip and uv read them.

Nothing here imports Ansible, so that the functions can be tested and used alone.
"""

from __future__ import annotations

import os
import re

#: The source of a release in a requirement. The installer has a variable of this name; uv and pip both put its value in.
SOURCE = "${PROJECT_ROOT}"
#: Name of the requirement file of a release that names projects in its source: they have no hashes.
FOLDERS = "folders.txt"
#: Name of the requirement file of a release that a lock file gave.
LOCKED = "locked.txt"
#: Name of the file that the others name with -c.
CONSTRAINTS = "constraints.txt"
#: Characters of a requirement file that are read at most, since the build of a package may have changed it.
_LARGEST_FILE = 4 << 20
_FILE_OPTION = re.compile(r"(-r|-c|--requirements?|--constraints?)(?:\s*=\s*|\s+|(?<=^-[rc]))(\S.*)")
_ORIGIN = re.compile(r"  # from (.+)$")
_NOTE = re.compile(r"# ([a-z-]+): (.+)  # from (.+)")


def logical(text):
    """The lines of a requirement file as (number of the first physical line, text): joined, without comments, none empty."""
    parts, first = [], 1
    for number, line in enumerate([*re.split(r"\r?\n", text), ""], 1):
        if not parts:
            first = number
        is_continued = line.endswith("\\") and not line.lstrip().startswith("#")
        parts.append((line[:-1] if is_continued else line).strip())
        if not is_continued:
            joined, parts = re.sub(r"(^|\s)#.*", "", " ".join(parts)).strip(), []
            if joined:
                yield first, joined


def other_file(text):
    """The requirement file that a line names, as (option, path or URL), or None."""
    match = _FILE_OPTION.match(text)
    return (match.group(1), match.group(2).strip("\"' ")) if match else None


def with_origin(text, where):
    """A line with the place that it comes from, for `lines` to give back."""
    return f"{text}  # from {where}"


def note(kind, text, where):
    """A comment with a fact of a lock that a requirement cannot express."""
    return with_origin(f"# {kind}: {text}", where)


def notes(path, kind):
    """The notes of this kind in a requirement file, as (place, text).

    ``requires-python`` is for which versions of Python a lock is made; ``override``, a version that wins over what packages ask for.
    """
    if os.path.basename(path) != LOCKED:
        return []
    with open(path, encoding="utf-8-sig", errors="replace") as stream:
        found = map(_NOTE.match, stream.read(_LARGEST_FILE).splitlines())
    return [(match[3], match[2]) for match in found if match and match[1] == kind]


def lines(path, _read=None):
    """The requirements and options in a requirement file and in those that it names, as (where, text)."""
    read = _read if _read is not None else set()
    path = os.path.normpath(path)
    if path in read or not os.path.isfile(path):
        return
    read.add(path)
    with open(path, encoding="utf-8-sig", errors="replace") as stream:
        content = stream.read(_LARGEST_FILE)
    physical = content.split("\n")
    for number, text in logical(content):
        origin = _ORIGIN.search(physical[number - 1])
        yield (origin.group(1) if origin else f"{path}, line {number}"), text
        other = other_file(text)
        if other and "://" not in other[1]:
            yield from lines(os.path.join(os.path.dirname(path), other[1]), read)
