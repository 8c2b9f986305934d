# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The records in the run directory by which an activation tells that an instance is ready, and of which release.

`<instance>.json` describes the master, `<instance>.<master>.<worker>.ready` one worker that may accept.
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
        """Remove what an earlier master of this instance left behind."""
        if self.folder:
            for path in self.folder.glob("*.ready"):
                if path.name.startswith(f"{self.instance}."):
                    path.unlink(missing_ok=True)
            self._master().unlink(missing_ok=True)

    def remove_own(self, master: int) -> None:
        """Remove the records of *master*, and not those of a successor that has already started."""
        if self.folder:
            for path in self.folder.glob(f"*.{master}.*.ready"):
                if path.name.startswith(f"{self.instance}."):
                    path.unlink(missing_ok=True)
            try:
                ours = json.loads(self._master().read_text(encoding="utf-8")).get("pid") == master
            except (FileNotFoundError, ValueError):
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

    def _master(self) -> Path:
        return self.folder / f"{self.instance}.json"

    def _ready(self, master: int, worker: int) -> Path:
        return self.folder / f"{self.instance}.{master}.{worker}.ready"


def _write(path: Path, record: dict) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(record), encoding="utf-8")
    beside.rename(path)
