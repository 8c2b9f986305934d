# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The records in the run directory by which an activation tells that an instance is ready, and of which release.

`<instance>.json` describes the master, `<instance>.<master>.<worker>.ready` one worker that may accept.
Files appear whole (written beside, then renamed). Without a run directory, nothing is written.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os


class Records:
    """The records of one instance; all methods do nothing if *run_dir* is None."""

    def __init__(self, run_dir: str | None, instance: str | None):
        self.base = os.path.join(run_dir, instance) if run_dir and instance else None

    def clear(self) -> None:
        """Remove what an earlier master of this instance left behind."""
        if self.base:
            for path in glob.glob(glob.escape(self.base) + ".*.ready"):
                _unlink(path)
            _unlink(self.base + ".json")

    def write_master(self, record: dict) -> None:
        if self.base:
            _write(self.base + ".json", record)

    def write_ready(self, master: int, worker: int, record: dict) -> None:
        if self.base:
            _write(self._ready(master, worker), record)

    def remove_ready(self, master: int, worker: int) -> None:
        if self.base:
            _unlink(self._ready(master, worker))

    def _ready(self, master: int, worker: int) -> str:
        return f"{self.base}.{master}.{worker}.ready"


def _write(path: str, record: dict) -> None:
    folder, name = os.path.split(path)
    beside = os.path.join(folder, f".{name}.{os.getpid()}")
    with open(beside, "w", encoding="utf-8") as file:
        json.dump(record, file)
    os.rename(beside, path)


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
