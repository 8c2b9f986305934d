# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lock files of a source, each read as its own tool would install it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from ..project_file import default_groups, overridden
from ..requirement_files import Refused, decode
from ..unread_needs import is_for_others
from . import fit, pdm, pipfile, poetry, pylock, systems, uv
from .lock import Lock
from .wanted import Wanted

#: The names of locks in a source, in the order in which they are tried.
NAMES = ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock")


#: The newest format of each lock that is known: where the file says its version, and that version up to its first dot.
_FORMATS = {
    "uv.lock": (("version",), 1),
    "poetry.lock": (("metadata", "lock-version"), 2),
    "pdm.lock": (("metadata", "lock_version"), 4),
    "Pipfile.lock": (("_meta", "pipfile-spec"), 6),
    "pylock.toml": (("lock-version",), 1),
}


def is_pylock(name: str) -> bool:
    """Whether a path is the name of a standard lock file in the source itself."""
    return name.startswith("pylock.") and name.endswith("toml") and "/" not in name


def of(path: Path, root: Path, wanted: Wanted, toml: Callable[[Path], dict]) -> Lock | None:
    """Read the lock at ``path``, or the uv.lock of the project whose pyproject.toml that is; None without a lock.

    :param root: where the search for a workspace's uv.lock ends
    :param toml: reads a TOML file
    :raises Refused: for a lock that does not fit its project, or that its own tool has to read
    """
    try:
        return _read(path, root, wanted, toml)
    except (LookupError, TypeError, AttributeError) as error:
        name = type(error).__name__
        raise Refused(
            f"{path} is not a lock file as its tool writes it ({name}: {error}). Write it again with that tool."
        ) from error


def _read(path: Path, root: Path, wanted: Wanted, toml: Callable[[Path], dict]) -> Lock | None:
    manifest = path.with_name("pyproject.toml")
    if path.name == "pyproject.toml":
        path = _workspace_lock(path, root, toml)
        if path is None:
            return None
    if not is_pylock(path.name) and path.name not in NAMES:
        return None
    content = _known(path, _json(path) if path.name == "Pipfile.lock" else toml(path))
    if path.name == "Pipfile.lock":
        manifest = path.with_name("Pipfile")
        lock = pipfile.read(path, content, wanted.names)
    elif is_pylock(path.name):
        lock = pylock.read(path, content, wanted.names)
    elif path.name == "poetry.lock":
        lock = poetry.read(path, content, toml(manifest) if manifest.is_file() else {}, wanted.names)
    elif path.name == "pdm.lock":
        lock = pdm.read(path, content, wanted.names)
    else:
        groups = default_groups(toml(manifest)) if manifest.is_file() else []
        lock = uv.read(path, content, manifest.parent, wanted.names, [one for one in groups if not is_for_others(one)])
    wanted.take(lock.has)
    if manifest.is_file():
        if path.name != "uv.lock":  # which says it itself, and for its whole workspace
            lock.overridden = overridden(toml(manifest))
        fit.check(lock, manifest, toml(manifest))
    systems.check(lock, content)
    return lock


def _known(path: Path, content: dict) -> dict:
    """The contents of a lock, whose format is none that is newer than those that are known."""
    keys, newest = _FORMATS.get(path.name, _FORMATS["pylock.toml"])
    value: object = content
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    version = re.match(r"\d+", str(value or ""))
    if version and int(version[0]) > newest:
        raise Refused(
            f"{path} has format {value}, and no later one than {newest} is known here. Write a requirements.txt next to it with its own"
            " tool (each can export one), and deploy again."
        )
    return content


def _workspace_lock(project: Path, root: Path, toml: Callable[[Path], dict]) -> Path | None:
    """The uv.lock that a project belongs to: the nearest one above it that knows it."""
    for folder in [project.parent, *project.parent.parents]:
        lock = folder / "uv.lock"
        if folder.is_relative_to(root) and lock.is_file() and uv.knows(lock, toml(lock), project.parent):
            return lock
    return None


def _json(path: Path) -> dict:
    try:
        return json.loads(decode(path))
    except ValueError as error:
        raise Refused(f"{path} cannot be read: {error}. Run `pipenv lock`.") from error
