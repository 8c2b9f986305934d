# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read ``pdm.lock``: the packages that ``pdm sync --prod --no-self`` would install."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...module_utils.resolved import normalize
from ..requirement_files import Refused
from .lock import Lock, Package, choose, names_of, repository


def read(path: Path, content: dict, names: Iterable[str]) -> Lock:
    """Read a lock.

    :param names: extras and groups that are wanted
    :raises Refused: when it does not say which group needs which package
    """
    metadata = content.get("metadata", {})
    lock = Lock(path, "pdm lock")
    if "inherit_metadata" not in metadata.get("strategy", ()):
        raise Refused(
            f"{path} does not say who needs which package. Lock again with `pdm lock --strategy inherit_metadata` (the default since"
            " PDM 2.11), or write a requirements.txt next to it: `pdm export --prod --output requirements.txt`."
        )
    groups = sorted({group for entry in content.get("package", ()) for group in entry.get("groups", ())} - {"default"})
    lock.has = groups
    chosen = {"default", *choose(names, (), groups).groups}
    for entry in content.get("package", ()):
        package = _package(entry, lock)
        lock.versions.setdefault(normalize(package.name), []).append(package.version)
        if chosen & set(entry.get("groups", ())):
            lock.add(package, lock.marker(entry.get("marker", ""), package.name))
    targets = {target.get("requires_python", "") for target in metadata.get("targets", ())}
    lock.requires_python = targets.pop() if len(targets) == 1 else ""
    return lock


def _package(entry: dict, lock: Lock) -> Package:
    name, version = entry["name"], entry["version"]
    hashes = tuple(sorted({file["hash"] for file in entry.get("files", ()) if "hash" in file}))
    if "git" in entry:
        return Package(
            name,
            version,
            f"{name} @ {repository('git', entry['git'], entry['revision'], entry.get('subdirectory', ''))}",
        )
    if "path" in entry:
        return Package(name, version, f"{name} @ {lock.place(entry['path'])}", hashes)
    if "url" in entry:
        return Package(name, version, f"{name} @ {entry['url']}", hashes)
    return Package(name, version, f"{name}=={version}", hashes, files=names_of(entry.get("files", ())))
