# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Check that a lock fits its project: it has each direct dependency, in a version that the project allows."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from ...module_utils.release.installable import takes_python
from ...module_utils.resolved import normalize
from ..requirement_files import Refused
from ..text import shown
from . import markers
from .lock import Lock
from .poetry_versions import marker_of, ranges

try:
    from packaging import specifiers
except ImportError:  # ansible-core brings it; its sanity tests import plugins without
    specifiers = None

_REQUIREMENT = re.compile(
    r"\s*([A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*([^;@]*?)\s*(@[^;]*|)(?:;(.*))?", re.DOTALL
)
_SOURCES = {"git", "url", "path", "file"}
#: Keys of a Pipfile that are variables of a marker.
_OF_PIPENV = set(
    "os_name sys_platform platform_machine platform_system platform_python_implementation implementation_name python_version"
    " python_full_version".split()
)
#: The minor versions of Python 3 that hosts can have: the runtime needs the first one, and nobody has the last.
_OLDEST, _NEWEST = 11, 30


def check(lock: Lock, manifest: Path, content: dict) -> None:
    """Refuse a lock that lacks a dependency of the project.

    :param manifest: pyproject.toml or Pipfile of the project
    :raises Refused: with the requirement that is not met
    """
    overridden = set(map(normalize, lock.overridden))
    for where, name, wanted, shown_as in _wanted(content):
        if normalize(name) in overridden:
            continue
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
    project, poetry = content.get("project", {}), content.get("tool", {}).get("poetry", {}).get("dependencies", {})
    pythons = _pythons(str(project.get("requires-python") or poetry.get("python") or "*"))
    for text in project.get("dependencies", ()):
        match = _REQUIREMENT.fullmatch(text)
        if match and _may_apply({"markers": match[4] or ""}, pythons):
            yield "project.dependencies", match[1], "" if match[3] else match[2], text
    for place, table in (("tool.poetry.dependencies", poetry), ("[packages]", content.get("packages", {}))):
        for name, value in table.items():
            items = [item if isinstance(item, dict) else {"version": str(item)} for item in _listed(value)]
            items = [item for item in items if not item.get("optional") and _may_apply(item, pythons)]
            if items and name.lower() != "python" and not _is_told_otherwise(place, name, project):
                versions = ["" if _SOURCES & set(item) else item.get("version", "") for item in items]
                version = "" if "" in versions else " || ".join(versions)
                yield place, name, version, f"{name} {version}".strip()


def _listed(value: object) -> list:
    return value if isinstance(value, list) else [value]


def _is_told_otherwise(place: str, name: str, project: dict) -> bool:
    """Whether Poetry's own table only adds to what ``project.dependencies`` says."""
    return place.startswith("tool.") and bool(project.get("dependencies"))


def _pythons(constraint: str) -> list[str]:
    """The Python versions of a constraint that a host can have. A tool leaves out of its lock what all others would need."""
    found = [f"3.{minor}" for minor in range(_OLDEST, _NEWEST)]
    return [version for version in found if any(_takes_python(part, version) for part in ranges(constraint))]


def _takes_python(part: list[tuple[str, str]], version: str) -> bool:
    specifier = ",".join(operator + number for operator, number in part)
    return any(takes_python(specifier, f"{version}.{last}") for last in (0, 99))


def _may_apply(item: dict, pythons: Collection[str]) -> bool:
    """Whether a dependency is for some host: Linux, with one of these Python versions."""
    own = [f"{key} {value}" for key, value in item.items() if key in _OF_PIPENV]
    text = " and ".join(f"({part})" for part in [item.get("markers") or "", *own] if part)
    try:
        marker = marker_of({**item, "markers": text})
    except markers.MarkerError:
        return True
    return any(all(_may_hold(comparison, version) for comparison in part) for part in marker for version in pythons)


def _may_hold(comparison: str, version: str) -> bool:
    """Whether a comparison of a marker may hold for a Python version of two numbers."""
    match = re.fullmatch(r"python_(full_)?version (===?|[!~<>]=|[<>]) '([\d.*]+)'", comparison)
    if not match:
        return True
    versions = [f"{version}.0", f"{version}.99"] if match[1] else [version]
    return any(takes_python(match[2] + match[3], one) for one in versions)
