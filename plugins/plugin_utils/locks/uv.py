# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read ``uv.lock``: the packages that ``uv sync --frozen --no-dev`` would install."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Iterable
from pathlib import Path

from ...module_utils.resolved import normalize
from ..requirement_files import Refused
from . import markers
from .lock import Edge, Lock, Package, choose, names_of, parts_of, repository, walk
from .markers import Chosen

_FOLDERS = ("editable", "directory", "virtual")


def read(path: Path, content: dict, project: Path, names: Iterable[str], defaults: Iterable[str] = ()) -> Lock:
    """Read a lock for one of its projects.

    :param content: the contents of the file
    :param project: directory of the project
    :param names: extras and groups that are wanted
    :param defaults: groups that the project has installed without being asked
    :raises Refused: when the lock does not know the project
    """
    lock = Lock(path, "uv lock", requires_python=content.get("requires-python", ""))
    manifest = content.get("manifest", {})
    lock.overridden = [item["name"] for item in manifest.get("overrides", ())]
    lock.overridden += [item if isinstance(item, str) else item["name"] for item in manifest.get("excludes", ())]
    reading = _Reading(lock, content)
    root = reading.root(project)
    entry = reading.entries[root]
    extras = [*entry.get("metadata", {}).get("provides-extras", ()), *entry.get("optional-dependencies", {})]
    groups = [*entry.get("metadata", {}).get("requires-dev", {}), *entry.get("dev-dependencies", {})]
    lock.has = sorted({*extras, *groups})
    chosen = choose(names, dict.fromkeys(extras), dict.fromkeys(groups))
    more = choose(defaults, (), dict.fromkeys(groups)).groups
    chosen = Chosen(chosen.extras, [*chosen.groups, *(name for name in more if name not in chosen.groups)])
    # How uv writes into a marker which of several extras that exclude each other is wanted.
    encoded = [f"{kind}-{len(root.name)}-{root.name}" for kind in ("extra", "group", "project")]
    reading.chosen = markers.Chosen(
        texts={
            *(f"{encoded[0]}-{name}" for name in _with_included(entry, root.name, chosen.extras)),
            *(f"{encoded[1]}-{name}" for name in chosen.groups),
            encoded[2],
        }
    )
    start = [
        edge
        for group in chosen.groups
        for edge in reading.edges_of(entry.get("dev-dependencies", {}).get(group, ()), root)
    ]
    itself = Edge(root.name, tuple(chosen.extras), which=(root.version, _source_key(entry)))
    walk(lock, [itself, *start], reading.find, reading.edges)
    return lock


def knows(path: Path, content: dict, project: Path) -> bool:
    """Whether a lock is that of the project in a directory."""
    return os.path.normpath(project) in _projects(path, content.get("package", ()))


def _projects(path: Path, entries: Iterable[dict]) -> dict[str, dict]:
    """The entries of a lock that are directories, by their paths."""
    return {
        os.path.normpath(path.parent / entry["source"][kind]): entry
        for entry in entries
        for kind in _FOLDERS
        if kind in entry.get("source", {})
    }


def _with_included(entry: dict, name: str, extras: Iterable[str]) -> set[str]:
    """The extras, with those of the same project that they ask for."""
    found, waiting = set(), list(extras)
    while waiting:
        extra = waiting.pop()
        if extra not in found:
            found.add(extra)
            listed = entry.get("optional-dependencies", {}).get(extra, ())
            waiting += [other for item in listed if item["name"] == name for other in item.get("extra", ())]
    return found


class _Reading:
    def __init__(self, lock: Lock, content: dict) -> None:
        self.lock = lock
        self.chosen = markers.Chosen()
        self.entries: dict[Package, dict] = {}
        self._named: dict[str, list[Package]] = {}
        for entry in content.get("package", ()):
            package = _package(entry, lock)
            self.entries[package] = entry
            self._named.setdefault(package.name, []).append(package)
            lock.versions.setdefault(normalize(package.name), []).append(package.version)

    def root(self, project: Path) -> Package:
        """The package that is the project in a directory."""
        own = _projects(self.lock.path, self.entries.values())
        entry = own.get(os.path.normpath(project))
        for package, other in self.entries.items():
            if other is entry:
                return package
        places = sorted(os.path.relpath(place, self.lock.path.parent) for place in own)
        raise Refused(
            f"{self.lock.path} locks no project in {project}, but in: {', '.join(places) or 'no directory'}. Name that project's"
            " pyproject.toml in flask_app_requirements, or run `uv lock`."
        )

    def find(self, edge: Edge) -> list[Package]:
        found = self._named.get(edge.name, [])
        version, source = edge.which
        return [
            package
            for package in found
            if version in ("", package.version) and source in ((), _source_key(self.entries[package]))
        ]

    def edges(self, package: Package, extra: str) -> list[Edge]:
        entry = self.entries[package]
        listed = entry.get("optional-dependencies", {}).get(extra, ()) if extra else entry.get("dependencies", ())
        return self.edges_of(listed, package)

    def edges_of(self, listed: Iterable[dict], package: Package) -> list[Edge]:
        return [
            Edge(
                item["name"],
                tuple(item.get("extra", ())),
                self.lock.marker(item.get("marker", ""), package.name, self.chosen),
                (item.get("version", ""), _source_key(item)),
            )
            for item in listed
        ]


def _source_key(entry: dict) -> tuple:
    return tuple(sorted((key, str(value)) for key, value in entry.get("source", {}).items()))


def _package(entry: dict, lock: Lock) -> Package:
    name, version, source = entry["name"], entry.get("version", ""), entry.get("source", {})
    files = [*entry.get("wheels", ()), entry.get("sdist", {})]
    hashes = tuple(sorted({file["hash"] for file in files if "hash" in file}))
    if "registry" in source:
        return Package(name, version, f"{name}=={version}", hashes, source["registry"], names_of(files))
    if "git" in source:
        address, query, commit = parts_of(source["git"])
        place = urllib.parse.unquote(query.get("subdirectory", ""))
        return Package(name, version, f"{name} @ {repository('git', address, commit, place)}")
    if "url" in source:
        place = f"#subdirectory={source['subdirectory']}" if source.get("subdirectory") else ""
        return Package(name, version, f"{name} @ {source['url']}{place}", hashes)
    if "path" in source:
        return Package(name, version, f"{name} @ {lock.place(source['path'])}", hashes)
    for kind in _FOLDERS:
        if kind in source:
            return Package(name, version, "" if kind == "virtual" else f"{name} @ {lock.place(source[kind])}")
    raise Refused(
        f"{lock.where(name)} comes from {source}, which is not known here. Write a"
        " requirements.txt next to it: `uv export --frozen --no-dev --no-emit-project --output-file requirements.txt`."
    )
