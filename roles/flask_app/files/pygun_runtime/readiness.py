# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The records in the run directory by which an activation tells that an instance is ready, and of which release.

`<instance>.json` describes the master, `<instance>.<master>.<worker>.ready` one worker that may accept.
`<instance>.<master>.<worker>.requests` says how many requests it has served, `<instance>.<master>.requests` how many
were served by workers that are gone. `<instance>.<master>.dirty` describes a
dirty arbiter, `<instance>.<master>.<worker>.dirty` a dirty worker that is up.
Files appear whole (written beside, then renamed). Without a run directory, nothing is written.
"""

from __future__ import annotations

import json
import os
from pathlib import Path


class Records:
    """The records of one instance; all methods do nothing if *run_dir* is None."""

    def __init__(self, run_dir: str | None, instance: str | None):
        self.folder = Path(run_dir) if run_dir and instance else None
        self.instance = instance

    def clear(self) -> None:
        """Remove the records of an earlier master of this instance."""
        if self.folder:
            self._remove("*")
            make_way(self._master())

    def remove_own(self, master: int) -> None:
        """Remove the records of *master*, and not those of a successor that has already started."""
        if self.folder:
            self._remove(f"*.{master}.*")
            try:
                ours = json.loads(self._master().read_text(encoding="utf-8")).get("pid") == master
            except (OSError, ValueError, AttributeError, RecursionError):
                ours = False
            if ours:
                self._master().unlink(missing_ok=True)

    def write_master(self, record: dict) -> None:
        if self.folder:
            _write(self._master(), record)

    def write_ready(self, master: int, worker: int, record: dict) -> None:
        if self.folder:
            _write(self._ready(master, worker), record)

    def remove_ready(self, master: int, worker: int) -> None:
        if self.folder:
            self._ready(master, worker).unlink(missing_ok=True)

    def write_dirty_arbiter(self, master: int, record: dict) -> None:
        """Describe a dirty arbiter that begins: dirty workers of one before are gone."""
        if self.folder:
            self._remove(f"*.{master}.*", ("dirty",))
            _write(self.folder / f"{self.instance}.{master}.dirty", record)

    def write_dirty(self, master: int, worker: int, record: dict) -> None:
        if self.folder:
            _write(self.folder / f"{self.instance}.{master}.{worker}.dirty", record)

    def remove_dirty(self, master: int, worker: int) -> None:
        if self.folder:
            self._remove(f"*.{master}.{worker}", (".dirty",))

    def write_served(self, master: int, worker: int, requests: int) -> None:
        if self.folder:
            _write(self._served(master, worker), {"requests": requests})

    def retire_served(self, master: int, worker: int) -> None:
        """Add the requests of a worker that is gone to the sum of its kind."""
        if not self.folder or not self._served(master, worker).exists():
            return
        total = self.folder / f"{self.instance}.{master}.requests"
        requests = sum(_requests(path) for path in (total, self._served(master, worker)))
        self._served(master, worker).unlink()
        _write(total, {"requests": requests})

    def _remove(self, pattern: str, kinds: tuple[str, ...] = (".ready", "requests", "dirty")) -> None:
        for kind in kinds:  # "requests" and "dirty" stand alone where they are those of a master
            for path in self.folder.glob(pattern + kind):
                if path.name.startswith(f"{self.instance}."):
                    make_way(path)

    def _served(self, master: int, worker: int) -> Path:
        return self.folder / f"{self.instance}.{master}.{worker}.requests"

    def _master(self) -> Path:
        return self.folder / f"{self.instance}.json"

    def _ready(self, master: int, worker: int) -> Path:
        return self.folder / f"{self.instance}.{master}.{worker}.ready"


def make_way(path: Path) -> None:
    """Free this path. A directory that the app has made there is renamed, since it may not be empty."""
    try:
        path.unlink(missing_ok=True)
    except IsADirectoryError:
        path.rename(path.with_name(f".{path.name}.{os.getpid()}.aside"))


def _requests(path: Path) -> int:
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["requests"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _write(path: Path, record: dict) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(record), encoding="utf-8")
    beside.rename(path)
