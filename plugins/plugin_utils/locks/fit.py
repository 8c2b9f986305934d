# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Check that a lock fits its project: it has each direct dependency, in a version that the project allows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ...module_utils.resolved import normalize
from ..requirement_files import Refused
from ..text import shown
from . import markers
from .lock import Lock
from .poetry_versions import ranges

try:
    from packaging import specifiers
except ImportError:  # ansible-core brings it; its sanity tests import plugins without
    specifiers = None

_REQUIREMENT = re.compile(
    r"\s*([A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*([^;@]*?)\s*(@[^;]*|)(?:;(.*))?", re.DOTALL
)
_SOURCES = {"git", "url", "path", "file"}


def check(lock: Lock, manifest: Path, content: dict) -> None:
    """Refuse a lock that lacks a dependency of the project.

    :param manifest: pyproject.toml or Pipfile of the project
    :raises Refused: with the requirement that is not met
    """
    for where, name, wanted, shown_as in _wanted(content):
        locked = lock.versions.get(normalize(name))
        if locked is None:
            why = f"and {lock.path} has no {name}"
        elif locked and not any(takes(wanted, version) for version in locked):
            why = f"and {lock.path} has {name} {', '.join(locked)}"
        else:
            continue
        raise Refused(
            f"{manifest}, {where} asks for {shown(shown_as)}, {why}: the lock is older. Run `{lock.command}` and commit the lock."
        )


def takes(wanted: str, version: str) -> bool:
    """Whether a constraint, of the standard or Poetry's, takes a version; a text that is none takes all."""
    if not wanted or not version or specifiers is None:
        return True
    try:
        return any(
            specifiers.SpecifierSet(",".join(operator + number for operator, number in part)).contains(
                version, prereleases=True
            )
            for part in ranges(wanted.strip("() "))
        )
    except ValueError:
        return True


def name_of(requirement: str) -> str:
    """The name in a requirement, or all of a text that is none."""
    match = _REQUIREMENT.match(requirement)
    return match[1] if match else requirement


def _wanted(content: dict) -> Iterator[tuple[str, str, str, str]]:
    """The dependencies of a project on our hosts, as (place, name, constraint, text)."""
    project = content.get("project", {})
    for text in project.get("dependencies", ()):
        match = _REQUIREMENT.fullmatch(text)
        if match and _may_apply(match[4] or ""):
            yield "project.dependencies", match[1], "" if match[3] else match[2], text
    for place, table in (
        ("tool.poetry.dependencies", content.get("tool", {}).get("poetry", {}).get("dependencies", {})),
        ("[packages]", content.get("packages", {})),
    ):
        for name, value in table.items():
            for item in value if isinstance(value, list) else [value]:
                item = item if isinstance(item, dict) else {"version": str(item)}
                applies = _may_apply(item.get("markers", "")) and not item.get("optional")
                if name.lower() != "python" and applies and not _is_told_otherwise(place, name, project):
                    version = "" if _SOURCES & set(item) else item.get("version", "")
                    yield place, name, version, f"{name} {version}".strip()


def _is_told_otherwise(place: str, name: str, project: dict) -> bool:
    """Whether Poetry's own table only adds to what ``project.dependencies`` says."""
    return place.startswith("tool.") and bool(project.get("dependencies"))


def _may_apply(marker: str) -> bool:
    try:
        return markers.parse(marker) != markers.NEVER
    except markers.MarkerError:
        return True
