# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Check the shape of a pyproject.toml, so that a text is not read as a list of its letters."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator

from ..module_utils.virtual_env import requirement_name

_LIST = 'Write a list of texts, such as ["flask>=3"].'
_TABLE = "Write a table, with a line NAME = VALUE for each."


def table(content: dict[str, t.Any], *names: str) -> dict[str, t.Any]:
    """A table by its names; an empty one if there is none, or something else."""
    found: t.Any = content
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def default_groups(content: dict[str, t.Any]) -> list[str]:
    """The dependency groups that uv installs without being asked, as a project says it."""
    found = table(content, "tool", "uv").get("default-groups", [])
    if found == "all":
        return list(table(content, "dependency-groups"))
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def overridden(content: dict[str, t.Any]) -> list[str]:
    """Names of the packages whose versions a project decides for its tool, or which it leaves out, whatever asks for them."""
    uv, pdm = table(content, "tool", "uv"), table(content, "tool", "pdm", "resolution")
    texts = [*uv.get("override-dependencies", ()), *uv.get("exclude-dependencies", ())]
    texts += [*pdm.get("overrides", ()), *pdm.get("excludes", ())]
    return [name for name in map(requirement_name, map(str, texts)) if name]


def mistake(content: dict[str, t.Any]) -> str:
    """The first place that no tool could read, and what to write; empty if there is none."""
    return next(_mistakes(content), "")


def _mistakes(content: dict[str, t.Any]) -> Iterator[str]:
    tool, project = content.get("tool", {}), content.get("project", {})
    yield from _of_table("tool", tool)
    yield from _of_table("project", project)
    yield from _of_table("tool.poetry", tool.get("poetry", {}))
    yield from _of_table("build-system", content.get("build-system", {}))
    yield from _of_list("project.dependencies", project.get("dependencies", []))
    yield from _of_list("project.dynamic", project.get("dynamic", []))
    for name, groups in (
        ("project.optional-dependencies", project.get("optional-dependencies", {})),
        ("dependency-groups", content.get("dependency-groups", {})),
    ):
        yield from _of_table(name, groups)
        for group, entries in groups.items():
            may_include = name == "dependency-groups"
            yield from _of_list(f"{name}.{group}", entries, (str, dict) if may_include else (str,))
    for name, tables in (
        ("tool.uv.index", table(tool, "uv").get("index", [])),
        ("tool.poetry.source", table(tool, "poetry").get("source", [])),
        ("tool.pdm.source", table(tool, "pdm").get("source", [])),
    ):
        if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
            yield f"{name} is no list of tables. Write each as [[{name}]]."
    yield from _of_table("tool.uv.sources", table(tool, "uv").get("sources", {}))
    yield from _of_list("tool.uv.extra-index-url", table(tool, "uv").get("extra-index-url", []))
    poetry = tool.get("poetry", {})
    yield from _of_table("tool.poetry.dependencies", poetry.get("dependencies", {}))
    yield from _of_table("tool.poetry.group", poetry.get("group", {}))


def _of_table(name: str, value: t.Any) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{name} is no table. {_TABLE}"


def _of_list(name: str, value: t.Any, kinds: tuple[type, ...] = (str,)) -> Iterator[str]:
    if not isinstance(value, list) or not all(isinstance(entry, kinds) for entry in value):
        yield f"{name} is no list of texts. {_LIST}"
