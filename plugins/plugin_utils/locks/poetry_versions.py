# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Constraints of versions in Poetry's own language, such as ``^1.2``, as those of the standard (PEP 440)."""

from __future__ import annotations

import re

from . import markers
from .markers import ALWAYS, Marker

_CLAUSE = re.compile(r"(\^|~=|~|===?|!=|<=|>=|<|>|)\s*(\d[^\s,|]*|\*)")


def ranges(text: str) -> list[list[tuple[str, str]]]:
    """Alternatives, each a list of (operator, version); an empty one takes every version."""
    return [
        [part for operator, version in _CLAUSE.findall(alternative) for part in _plain(operator, version)]
        for alternative in re.split(r"\s*\|\|?\s*", text)
    ]


def specifier_of(text: str) -> str:
    """The versions as the standard writes them; empty when they are not one range."""
    found = ranges(text)
    return ",".join(operator + version for operator, version in found[0]) if len(found) == 1 else ""


def _plain(operator: str, version: str) -> list[tuple[str, str]]:
    if version == "*":
        return []
    if operator not in ("^", "~"):
        return [(operator or "==", version)]
    numbers = [int(number) for number in re.match(r"\d+(?:\.\d+)*", version)[0].split(".")]
    if operator == "~":
        place = min(len(numbers), 2) - 1
    else:
        place = next((place for place, number in enumerate(numbers) if number), len(numbers) - 1)
    upper = [*numbers[:place], numbers[place] + 1]
    return [(">=", version), ("<", ".".join(map(str, upper)))]


def marker_of(item: dict) -> Marker:
    """Where a dependency of Poetry's table is needed: by its marker, its Python versions and its platform.

    :raises markers.MarkerError: when it cannot be read
    """
    found = markers.parse(item.get("markers", ""))
    if "python" in item:
        found = markers.both(found, as_marker(item["python"]))
    platform = re.fullmatch(r"\s*(==|!=|)\s*([\w.-]+)\s*", str(item.get("platform", "")))
    if platform:
        found = markers.both(found, markers.parse(f"sys_platform {platform[1] or '=='} '{platform[2]}'"))
    return found


def as_marker(text: str) -> Marker:
    """The Python versions that a constraint takes, as a marker."""
    found = []
    for alternative in ranges(text):
        marker = ALWAYS
        for operator, version in alternative:
            variable = "python_version" if version.count(".") < 2 or "*" in version else "python_full_version"
            if variable == "python_version" and operator in (">=", "<", "==") and version.count(".") == 0:
                version, operator = (f"{version}.*", "==") if operator == "==" else (f"{version}.0", operator)
            marker = markers.both(marker, markers.parse(f"{variable} {operator} '{version}'"))
        found.append(marker)
    return markers.any_of(found)
