# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The locks of a release that the hosts of one run share: one host resolves the packages, the others install the same."""

from __future__ import annotations

import fcntl
import fnmatch
import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..module_utils.release.requirement_lines import FOLDERS, SOURCE
from .pack import Entry

#: Files of a project that may name its packages.
_METADATA = ("pyproject.toml", "setup.py", "setup.cfg", "*.txt", "*.in", "*.lock")


class RunLocks:
    """The locks of a run, in the folder where its hosts meet. Each is for one kind of host: Python, platform, requirements."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def digests(self) -> dict[str, str]:
        """The digest of each lock, by the key of its inputs."""
        return {key: found["digest"] for key, found in self._all().items()}

    def text(self, inputs: str) -> str:
        """The lock that was resolved from this; empty if there is none."""
        return self._all().get(inputs, {}).get("text", "")

    def keep(self, answer: dict[str, Any]) -> None:
        """Take the lock out of the answer of a host. The first one of its kind holds for the run."""
        text, digest = answer.pop("lock", ""), answer.pop("lock_digest", "")
        target = self.folder / f"lock-{answer.get('inputs')}.json"
        if text and digest:
            with self._locked("locks"):
                if not target.exists():
                    part = target.with_suffix(".part")
                    part.write_text(json.dumps({"digest": digest, "text": text}), encoding="utf-8")
                    part.rename(target)

    @contextmanager
    def one_resolves(self, inputs: str) -> Iterator[bool]:
        """Let one host resolve packages that no host has resolved. Hosts with the same inputs wait and then find the lock.

        Yield whether this host is the one.
        """
        if self.text(inputs):
            yield False
            return
        with self._locked(f"resolving-{inputs}") as lock:
            is_resolved = bool(self.text(inputs))
            if is_resolved:
                fcntl.flock(lock, fcntl.LOCK_UN)
            yield not is_resolved

    @contextmanager
    def _locked(self, name: str) -> Iterator[Any]:
        with (self.folder / name).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock

    def _all(self) -> dict[str, dict[str, str]]:
        found = {}
        for path in self.folder.glob("lock-*.json"):
            found[path.stem.removeprefix("lock-")] = json.loads(path.read_text(encoding="utf-8"))
        return found


def needs_digest(entries: Iterable[Entry], requirements: Iterable[str]) -> str:
    """The digest of all files of a source that say which packages it needs.

    :param requirements: the requirement files among the entries
    """
    entries = list(entries)
    projects = [
        folder for entry in entries if entry.path in requirements and entry.path.endswith(FOLDERS)
        for folder in _folders(entry)
    ]  # fmt: skip
    total = hashlib.sha256()
    for entry in sorted(entries, key=lambda entry: entry.path):
        if entry.path.startswith("requirements/") or any(_is_metadata(entry.path, folder) for folder in projects):
            total.update(f"{entry.path}\0{entry.signature}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _folders(entry: Entry) -> Iterator[str]:
    for line in entry.source.read_text(encoding="utf-8").splitlines() if entry.source else ():
        _start, found, rest = line.partition(SOURCE)
        if found:
            path = rest.split("  #")[0].split("[")[0].split(" ")[0].strip("/")
            yield f"src/{path}" if path else "src"


def _is_metadata(path: str, folder: str) -> bool:
    inside = path.removeprefix(f"{folder}/")
    parts = inside.split("/")
    return inside != path and len(parts) <= 2 and any(fnmatch.fnmatchcase(parts[-1], name) for name in _METADATA)
