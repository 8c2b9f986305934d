# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read ``Pipfile.lock``: the packages that ``pipenv sync`` would install."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...module_utils.resolved import normalize
from .lock import Lock, Package, choose, repository

_PYPI = "https://pypi.org/simple"


def read(path: Path, content: dict, names: Iterable[str]) -> Lock:
    """Read a lock.

    :param names: categories that are wanted besides the default one
    """
    meta = content.get("_meta", {})
    lock = Lock(path, "pipenv lock", has=sorted(set(content) - {"_meta", "default"}))
    python = meta.get("requires", {}).get("python_version", "")
    lock.requires_python = f"=={python}.*" if python.count(".") == 1 else ""
    sources = {source.get("name"): source.get("url", _PYPI) for source in meta.get("sources", ())}
    first = next(iter(sources.values()), _PYPI)
    wanted = ["default", *choose(names, (), lock.has).groups]
    for category in lock.has + ["default"]:
        for name, entry in content.get(category, {}).items():
            package = _package(name, entry, lock, sources.get(entry.get("index"), first))
            if package.version:
                lock.versions.setdefault(normalize(name), []).append(package.version)
            else:
                lock.versions.setdefault(normalize(name), [])
            if category in wanted:
                lock.add(package, lock.marker(entry.get("markers", ""), name))
    return lock


def _package(name: str, entry: dict, lock: Lock, index: str) -> Package:
    version = entry.get("version", "").removeprefix("==").removeprefix("*")
    hashes = tuple(sorted(entry.get("hashes", ())))
    full = f"{name}[{','.join(entry['extras'])}]" if entry.get("extras") else name
    for kind in ("git", "hg", "svn", "bzr"):
        if kind in entry:
            return Package(
                name,
                "",
                f"{full} @ {repository(kind, entry[kind], entry.get('ref', 'HEAD'), entry.get('subdirectory', ''))}",
            )
    if "path" in entry:
        place = lock.place(entry["path"])
        extras = full.removeprefix(name)
        return Package(
            name,
            "",
            f"{place}{extras}" if Path(place).is_dir() else f"{full} @ {place}",
            hashes if Path(place).is_file() else (),
        )
    if "file" in entry:
        return Package(name, "", f"{full} @ {entry['file']}", hashes)
    return Package(name, version, f"{full}=={version}" if version else full, hashes, index)
