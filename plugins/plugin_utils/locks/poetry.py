# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read ``poetry.lock``: the packages that ``poetry install --only main`` would install, without the project itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ...module_utils.resolved import normalize
from ..requirement_files import Refused
from . import fit, markers
from .lock import Edge, Lock, Package, choose, names_of, repository, walk
from .markers import NEVER, Chosen, Marker
from .poetry_versions import marker_of, specifier_of

_EXPORT = "poetry export --output requirements.txt"


def read(path: Path, content: dict, project: dict, names: Iterable[str]) -> Lock:
    """Read a lock.

    :param project: the contents of the pyproject.toml next to it
    :param names: extras and groups that are wanted
    :raises Refused: when it can be read with Poetry only
    """
    metadata = content.get("metadata", {})
    lock = Lock(path, "poetry lock", requires_python=specifier_of(metadata.get("python-versions", "*")))
    entries: dict[Package, dict] = {}
    for entry in content.get("package", ()):
        package = _package(entry, lock, metadata)
        entries[package] = entry
        lock.versions.setdefault(normalize(package.name), []).append(package.version)
    known_groups = {group for entry in entries.values() for group in entry.get("groups", ())} - {"main"}
    poetry = project.get("tool", {}).get("poetry", {})
    groups = sorted(known_groups | set(poetry.get("group", {})) | set(project.get("dependency-groups", {})))
    groups += ["dev"] if "dev-dependencies" in poetry else []
    lock.has = sorted({*content.get("extras", {}), *groups})
    chosen = choose(names, content.get("extras", {}), groups)
    if any("groups" in entry for entry in entries.values()):
        for package, entry in entries.items():
            lock.add(package, _marker_of_groups(lock, package, entry, chosen))
    else:
        _walk(lock, entries, content, project, chosen)
    return lock


def _marker_of_groups(lock: Lock, package: Package, entry: dict, chosen: Chosen) -> Marker:
    """Where a package is needed, of which the lock says so (since Poetry 2)."""
    given, found = entry.get("markers", ""), []
    for group in {"main", *chosen.groups} & set(entry["groups"]):
        text = given.get(group, "") if isinstance(given, dict) else given
        found.append(lock.marker(text, package.name, chosen))
    return markers.any_of(found)


def _walk(lock: Lock, entries: dict[Package, dict], content: dict, project: dict, chosen: Chosen) -> None:
    """Follow the dependencies, as a lock of Poetry 1 needs it."""
    named: dict[str, list[Package]] = {}
    for package in entries:
        named.setdefault(normalize(package.name), []).append(package)

    def find(edge: Edge) -> list[Package]:
        found = named.get(normalize(edge.name), [])
        if len(found) > 1:
            found = [package for package in found if fit.takes(edge.which[0], package.version)]
        if len(found) > 1:
            raise Refused(
                f"{lock.where(edge.name)} is there in several versions, and only Poetry knows which package needs which. Lock again with"
                f" Poetry 2 or later (`poetry lock`), or write a requirements.txt next to it: `{_EXPORT}`."
            )
        return found

    def edges(package: Package, extra: str) -> Iterator[Edge]:
        entry = entries[package]
        if extra:
            wanted = {normalize(fit.name_of(text)) for text in entry.get("extras", {}).get(extra, ())}
            listed = {name: value for name, value in entry.get("dependencies", {}).items() if normalize(name) in wanted}
            yield from _edges(lock, listed, extra)
        else:
            yield from _edges(lock, entry.get("dependencies", {}))

    of_extras = {normalize(name) for extra in chosen.extras for name in content.get("extras", {}).get(extra, ())}
    poetry = project.get("tool", {}).get("poetry", {})
    if "dependencies" not in poetry:
        raise Refused(
            f"{lock.path} was written by Poetry 1, and there is no pyproject.toml of Poetry's next to it. Lock again with Poetry 2 or later"
            f" (`poetry lock`), or write a requirements.txt next to it: `{_EXPORT}`."
        )
    tables = [
        poetry["dependencies"],
        *(poetry.get("group", {}).get(group, {}).get("dependencies", {}) for group in chosen.groups),
    ]
    tables += [poetry.get("dev-dependencies", {})] if "dev" in chosen.groups else []
    start = []
    for table in tables:
        listed = {name: value for name, value in table.items() if name.lower() != "python"}
        start += _edges(lock, listed)
        start += _edges(lock, {name: value for name, value in listed.items() if normalize(name) in of_extras}, "any")
    walk(lock, start, find, edges)


def _edges(lock: Lock, listed: dict, extra: str = "") -> Iterator[Edge]:
    """The dependencies of a table of Poetry's, without the optional ones, or these alone, as an extra needs them."""
    for name, value in listed.items():
        for item in value if isinstance(value, list) else [value]:
            item = item if isinstance(item, dict) else {"version": str(item)}
            if bool(item.get("optional")) != bool(extra):
                continue
            marker = lock.marker(item.get("markers", ""), name, Chosen([extra] if extra else []))
            marker = markers.both(marker, marker_of({**item, "markers": ""}))
            if marker != NEVER:
                yield Edge(name, tuple(item.get("extras", ())), marker, (item.get("version", "*"),))


def _package(entry: dict, lock: Lock, metadata: dict) -> Package:
    name, version, source = entry["name"], entry["version"], entry.get("source", {})
    # Before Poetry 1.3 all hashes stood at the end.
    files = entry.get("files") or metadata.get("files", {}).get(name, ())
    hashes = tuple(sorted({file["hash"] for file in files if "hash" in file}))
    kind, url = source.get("type"), source.get("url", "")
    if kind == "git":
        return Package(
            name,
            version,
            f"{name} @ {repository('git', url, source['resolved_reference'], source.get('subdirectory', ''))}",
        )
    if kind == "url":
        return Package(name, version, f"{name} @ {url}", hashes)
    if kind in ("file", "directory"):
        return Package(name, version, f"{name} @ {lock.place(url)}", hashes if kind == "file" else ())
    return Package(name, version, f"{name}=={version}", hashes, url or "https://pypi.org/simple", names_of(files))
