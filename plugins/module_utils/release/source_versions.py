# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A version for projects in the source that ask git for theirs: a release holds their files without the repository.

setuptools-scm takes one from a variable with the project's name in it, so that no package has it too. Hatch and PDM know no such variable.
"""

from __future__ import annotations

import contextlib
import os
import re
import typing as t

from ..host import foreign
from .requirement_lines import SOURCE

try:
    import tomllib
except ImportError:  # hosts have Python 3.11
    tomllib = None

#: What such a project gets. A fallback of its own counts instead.
VERSION = "0.0.0"
_LARGEST = 1 << 20
#: Files by which a distribution knows its version without git.
_KNOWN_BY = ("PKG-INFO", ".git_archival.txt")


#: What was read, by the file: the resolution, the build and the warning ask for it, and the release's folder moves meanwhile.
_known: dict[tuple[int, ...], tuple[str, dict[str, t.Any]]] = {}


def folders_in(texts: t.Iterable[str]) -> set[str]:
    """The folders and files of the source that requirements name, relative to it."""
    return {found.strip("/") for text in texts for found in re.findall(rf"{re.escape(SOURCE)}([^\s\[;#]*)", text)}


def projects(source: str, folders: t.Iterable[str]) -> list[str]:
    """The names of projects that only git has a version for.

    :param source: folder of the source in a release
    :param folders: folders of projects in it, relative to it
    """
    found = [_name(os.path.join(source, folder)) for folder in folders]
    return sorted({name for name in found if name})


def environment_for(source: str, folders: t.Iterable[str]) -> dict[str, str]:
    """Variables of the builds of these projects."""
    names = (re.sub(r"[-_.]+", "_", name).upper() for name in projects(source, folders))
    return {f"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_{name}": VERSION for name in names}


def warning(names: t.Iterable[str]) -> str:
    """What a deploy says of these projects; empty if there are none."""
    listed = ", ".join(names)
    if not listed:
        return ""
    return (
        f"The version of {listed} is {VERSION} here: the project takes it from git, and a release holds its files without the repository. To have"
        " another, set fallback_version in tool.setuptools_scm of its pyproject.toml."
    )


def _name(project: str) -> str:
    text, content = _read(os.path.join(project, "pyproject.toml"))
    tables = [content.get(name) for name in ("project", "build-system", "tool")]
    about, system, tool = (table if isinstance(table, dict) else {} for table in tables)
    is_asking = "setuptools_scm" in tool or re.search(r"setuptools[-_]scm", str(system.get("requires")))
    knows = "fallback_version" in text or any(os.path.lexists(os.path.join(project, one)) for one in _KNOWN_BY)
    is_wanted = is_asking and not knows and "version" in str(about.get("dynamic", ""))
    return str(about.get("name", "")) if is_wanted else ""


def _read(path: str) -> tuple[str, dict[str, t.Any]]:
    """The text of a pyproject.toml, and what it says."""
    text, content = "", {}
    with contextlib.suppress(OSError, foreign.Unreadable, ValueError):
        status = os.lstat(path)
        file = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        if file in _known:
            return _known[file]
        text = foreign.read(path, _LARGEST).decode()
        content = tomllib.loads(text) if tomllib else {}
        _known[file] = text, content
    return text, content
