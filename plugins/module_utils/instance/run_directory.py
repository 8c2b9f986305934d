# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the records of an app's instances in the run directory, and ask an instance.

The app's user owns these files, so nothing here trusts them: `foreign` reads them, and a record counts only if supervisord
names the same pid. The links that choose the next release are in a directory of root's next to it (`Candidates`).
"""

from __future__ import annotations

import os
import re
import typing as t

from ..host import foreign
from ..release.store import ID_PATTERN
from .probe import Answer, LocalConnection, ask, no_answer

#: Fields of a master's record that anybody here reads.
_MASTER = {
    "pid": int,
    "release": ID_PATTERN,
    "workers": int,
    "worker_class": str,
    "lossless": bool,
    "gunicorn": str,
    "env_digest": str,
    "started": float,
    "dirty_workers": int,
}
_WORKER = {"pid": int, "health": str, "accelerator": str}
_SERVED = {"requests": int}
_DIRTY = {"pid": int, "dirty_workers": int, "begun": int}
#: Workers of one instance that are counted at most.
_MOST_WORKERS = 1000


class RunDirectory:
    """The run directory of one app (normally ``/run/<app>``)."""

    def __init__(self, path: str) -> None:
        self.path = path

    def record(self, instance: str) -> dict[str, t.Any]:
        """The record that the instance's last master wrote when it was up; empty if it cannot be read."""
        return self._read(f"{instance}.json", _MASTER)

    def wrong(self, instance: str) -> str:
        """The reason why the record of an instance is unusable, with its file; empty if it is usable."""
        path = os.path.join(self.path, f"{instance}.json")
        try:
            foreign.record(path, _MASTER)
        except foreign.Unreadable as error:
            return f"{path} {error}"
        if len(foreign.names(self.path, "")) >= foreign.MOST_NAMES:
            return f"{self.path} holds {foreign.MOST_NAMES} files or more"
        return ""

    def ready_workers(self, instance: str, master: int) -> int:
        """How many workers of this master have passed their own check."""
        return len(self._files(instance, master, r"\d+\.ready"))

    def ready_records(self, instance: str, master: int) -> list[dict[str, t.Any]]:
        """The files that the workers of this master wrote after their own check."""
        return [self._read(name, _WORKER) for name in self._files(instance, master, r"\d+\.ready")]

    def accelerators(self, instance: str, master: int) -> list[str]:
        """Those that the workers and dirty workers of this master have."""
        records = [self._read(name, _WORKER) for name in self._files(instance, master, r"\d+\.(ready|dirty)")]
        return sorted(one["accelerator"] for one in records if "accelerator" in one)

    def dirty_arbiter(self, instance: str, master: int) -> dict[str, int]:
        """How many dirty workers this master's dirty arbiter wants, how many are up, and how often one has begun; empty without one."""
        record = self._read(f"{instance}.{master}.dirty", _DIRTY)
        up = len(self._files(instance, master, r"\d+\.dirty"))
        return {"wanted": record.get("dirty_workers", 0), "up": up, "begun": record.get("begun", 1)} if record else {}

    def requests(self, instance: str, master: int) -> int | None:
        """How many requests the workers of this master have served, to about a second; None if it does not count."""
        records = [self._read(name, _SERVED) for name in self._files(instance, master, r"(\d+\.)?requests")]
        return sum(one.get("requests", 0) for one in records) if records else None

    def _read(self, name: str, fields: dict[str, t.Any]) -> dict[str, t.Any]:
        try:
            return foreign.record(os.path.join(self.path, name), fields)
        except foreign.Unreadable:
            return {}

    def _files(self, instance: str, master: int, tail: str) -> list[str]:
        pattern = re.compile(rf"{re.escape(instance)}\.{master}\.{tail}", re.ASCII)
        found = foreign.names(self.path, f"{instance}.{master}.")
        return [name for name in found if pattern.fullmatch(name)][:_MOST_WORKERS]

    def ask(self, instance: str, master: int, path: str, timeout: float, host: str = "localhost") -> Answer:
        """GET one path from this instance and no other: from the user that runs this master."""
        place = os.path.join(self.path, f"{instance}.sock")
        try:
            owner = user_of(master)
        except OSError as error:
            return no_answer(error)
        return ask(LocalConnection(place, timeout, owner), path, host)


def user_of(pid: int) -> int:
    """The real uid of a process. The owner of its entry in /proc may be another one: root, if the process cannot be dumped."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as stream:
        found = re.search(r"^Uid:\s+(\d+)", stream.read(), re.MULTILINE)
    if not found:
        raise OSError(f"no record says whose process {pid} is")
    return int(found.group(1))
