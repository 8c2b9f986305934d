# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads ``pylock.toml``, the standard lock file (PEP 751)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ...module_utils.resolved import normalize
from .lock import Lock, Package, choose, names_of, repository
from .markers import Chosen


def read(path: Path, content: dict, names: Iterable[str]) -> Lock:
    """Read a lock.

    :param names: extras and groups that are wanted
    """
    lock = Lock(path, "uv export --output-file pylock.toml", requires_python=content.get("requires-python", ""))
    extras, groups = content.get("extras", ()), content.get("dependency-groups", ())
    lock.has = sorted({*extras, *groups})
    chosen = choose(names, extras, groups)
    chosen = Chosen(chosen.extras, [*chosen.groups, *content.get("default-groups", ())])
    for entry in content.get("packages", ()):
        package = _package(entry, lock)
        lock.versions.setdefault(normalize(package.name), []).append(package.version)
        lock.add(package, lock.marker(entry.get("marker", ""), package.name, chosen))
    return lock


def _package(entry: dict, lock: Lock) -> Package:
    name, version = entry["name"], entry.get("version", "")
    if "vcs" in entry:
        vcs = entry["vcs"]
        address = vcs.get("url") or f"file://{lock.place(vcs.get('path', '.'))}"
        return Package(
            name,
            version,
            f"{name} @ {repository(vcs.get('type', 'git'), address, vcs['commit-id'], vcs.get('subdirectory', ''))}",
        )
    if "archive" in entry:
        archive = entry["archive"]
        address = archive.get("url") or lock.place(archive.get("path", "."))
        place = f"#subdirectory={archive['subdirectory']}" if archive.get("subdirectory") else ""
        return Package(name, version, f"{name} @ {address}{place}", _hashes([archive]))
    if "directory" in entry:
        place = os.path.join(entry["directory"]["path"], entry["directory"].get("subdirectory", ""))
        return Package(name, version, f"{name} @ {lock.place(place)}")
    files = [*entry.get("wheels", ()), *([entry["sdist"]] if "sdist" in entry else [])]
    index = entry.get("index") or _folder(files)
    return Package(name, version, f"{name}=={version}", _hashes(files), index, names_of(files))


def _folder(files: list[dict]) -> str:
    """The folder of the source in which all files of a package are; empty if they are elsewhere."""
    folders = {os.path.dirname(file["path"]) for file in files if "path" in file and "url" not in file}
    return f"./{folders.pop()}" if len(folders) == 1 and all("path" in file for file in files) else ""


def _hashes(files: list[dict]) -> tuple[str, ...]:
    return tuple(sorted({f"sha256:{file['hashes']['sha256']}" for file in files if "sha256" in file.get("hashes", {})}))
