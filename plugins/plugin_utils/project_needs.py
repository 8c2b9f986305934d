# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a project in the source says of its packages where only its own tool or its build reads it, checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..module_utils.host.logins import masked
from ..module_utils.release.requirement_lines import SOURCE
from ..module_utils.resolved import normalize
from ..module_utils.virtual_env import requirement_name
from .locks import markers
from .locks.lock import PYPI
from .locks.poetry_versions import specifier_of
from .project_file import table
from .requirement_files import Reader, Refused

#: Locks that are read by their own names only, and not through a pyproject.toml.
_LOCKS = ("poetry.lock", "pdm.lock", "pylock.toml")
#: A requirement without an address: its name, extras and marker.
_ASKED = re.compile(r"\s*([A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)\s*(?:\[([^\]]*)\])?[^;@]*(?:;(.*))?", re.DOTALL)
#: What a file that builds a package names; any other setup.py is a module of the app.
_BUILDS = re.compile(rb"setuptools|distutils|skbuild|pbr|exec\(|runpy")


def is_setup(path: Path) -> bool:
    """Whether a setup.py builds a package."""
    content = path.read_bytes()
    return not content.strip() or bool(_BUILDS.search(content))


def is_built(content: dict) -> bool:
    """Whether a project is installed as a package, by the rules of its tool."""
    if is_no_package(content):
        return False
    is_dynamic = "dependencies" in content.get("project", {}).get("dynamic", ())
    return bool(table(content, "tool", "uv").get("package", "build-system" in content or is_dynamic))


def is_no_package(content: dict) -> bool:
    """Whether Poetry takes a project for no package, and refuses to build it."""
    return table(content, "tool", "poetry").get("package-mode") is False


def pythons(path: Path, content: dict) -> list[tuple[str, str]]:
    """For which versions of Python a project is, after the place that says so."""
    found = content.get("project", {}).get("requires-python")
    if isinstance(found, str):
        return [(f"{path}, project.requires-python", found)]
    found = table(content, "tool", "poetry", "dependencies").get("python")
    found = specifier_of(found) if isinstance(found, str) else ""
    return [(f"{path}, tool.poetry.dependencies", found)] if found else []


def lock_beside(given: Iterable[Path]) -> str:
    """A sentence on a lock that is not read, since the user names the pyproject.toml beside it."""
    for path in given:
        lock = next((name for name in _LOCKS if path.with_name(name).is_file()), None)
        if path.name == "pyproject.toml" and lock:
            return f"{lock} is not read, since flask_app_requirements names {path.name}; it can name the lock."
    return ""


def without_itself(project: dict, lines: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The requirements of a project that is not installed, each after its place. What asks for the project itself, with some of its
    extras, asks for what these name: an index has none of that name, or another's.
    """
    own, extras = normalize(str(project.get("name", ""))), project.get("optional-dependencies", {})
    known = {normalize(name): (f"project.optional-dependencies.{name}", texts) for name, texts in extras.items()}
    waiting, seen = list(lines), set()
    while waiting:
        where, text = waiting.pop(0)
        asked = _ASKED.fullmatch(text)
        if not own or not asked or normalize(asked[1]) != own:
            yield where, text
            continue
        for extra in (normalize(name.strip()) for name in (asked[2] or "").split(",")):
            if extra in known and (extra, asked[3]) not in seen:
                seen.add((extra, asked[3]))
                place, texts = known[extra]
                waiting += [(place, _where_both(other, asked[3] or "")) for other in texts]


def _where_both(text: str, marker: str) -> str:
    """A requirement for the hosts of its own marker and of another one."""
    marker = marker.strip()
    if not marker:
        return text
    match = re.fullmatch(
        r"(.*?)\s*(?:(?<=\s);|;(?=\s))\s*(.*)" if "://" in text else r"(.*?)\s*;\s*(.*)", text, re.DOTALL
    )
    return f"{match[1]} ; ({match[2]}) and ({marker})" if match else f"{text} ; {marker}"


def unread_index(path: Path, content: dict) -> str:
    """A sentence on the index that a project names for its tool, which nothing but the tool's lock makes known to a host."""
    uv = table(content, "tool", "uv")
    listed = [one.get("url") for one in uv.get("index", ()) if not one.get("explicit")]
    listed += [uv.get("index-url"), *uv.get("extra-index-url", ())]
    listed += [one.get("url") for name in ("poetry", "pdm") for one in table(content, "tool", name).get("source", ())]
    found = next((url for url in listed if isinstance(url, str) and not PYPI.fullmatch(url)), None)
    if not found:
        return ""
    return f"The index {masked(found)} of {path.name} is not asked, since there is no lock; python_index_url names the one that is."


def check(path: Path, content: dict, extras: Iterable[str], reader: Reader) -> None:
    """Refuse what the build of a project would ask for, and no host can install.

    :param path: its pyproject.toml
    :param extras: those that are wanted
    :param reader: the reader of the source, which takes none of this
    """
    trial = Reader(reader.root, reader.is_packed)
    requirements = list(_requirements(content, extras))
    for place, text in requirements:
        if "{" not in text.replace(SOURCE, ""):  # or else the build puts a path in
            trial.line(text, path.parent, f"{path}, {place}", place)
    sources = table(content, "tool", "uv", "sources")
    wanted = {requirement_name(text) for _place, text in requirements}
    for name, source in sources.items():
        for item in (source if isinstance(source, list) else [source]) if normalize(name) in wanted else ():
            if not _may_apply(item):
                continue
            if "path" in item:
                trial.line(f"{name} @ {item['path']}", path.parent, f"{path}, tool.uv.sources", name)
            is_member = item.get("workspace") and "workspace" not in content["tool"]["uv"]
            if "index" in item or (is_member and path.parent == reader.root):
                raise Refused(_without_lock(path, name))


def _may_apply(item: dict) -> bool:
    """Whether a source of uv's is for Linux too."""
    try:
        return markers.parse(str(item.get("marker", ""))) != markers.NEVER
    except markers.MarkerError:
        return True


def refuse_source(path: Path, content: dict, requirement: str) -> None:
    """Refuse a requirement of which only uv knows where it comes from: another package may have its name elsewhere."""
    for name, source in table(content, "tool", "uv", "sources").items():
        kinds = {kind for item in (source if isinstance(source, list) else [source]) for kind in item}
        if kinds & {"git", "url", "path", "workspace", "index"} and normalize(name) == requirement_name(requirement):
            raise Refused(_without_lock(path, name))


def _without_lock(path: Path, name: str) -> str:
    return (
        f"{path}, tool.uv.sources says where {name} comes from, and the source has no uv.lock for this project. Run `uv lock`, and"
        " see that git does not ignore it. In a workspace, name its root in flask_app_src, and the project's pyproject.toml in"
        " flask_app_requirements."
    )


def _requirements(content: dict, extras: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The requirements of a project, each after its place, with what Poetry's table says of folders and addresses."""
    project = content.get("project", {})
    yield from (("project.dependencies", text) for text in project.get("dependencies", ()))
    for name in extras:
        listed = project.get("optional-dependencies", {}).get(name, ())
        yield from ((f"project.optional-dependencies.{name}", text) for text in listed)
    for name, item in table(content, "tool", "poetry", "dependencies").items():
        is_wanted = isinstance(item, dict) and not {"optional", "markers", "platform"} & set(item)
        place = item.get("path") or item.get("file") if is_wanted else None
        if place:
            yield "tool.poetry.dependencies", f"{name} @ {place}"
