# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How many processors this process may really use: its affinity, cut by the quota of its control groups."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path


def usable(root: str = "/") -> float:
    """Processors, as a number that may have a fraction; *root* is where /proc and /sys stand."""
    limits = [float(len(os.sched_getaffinity(0)))]
    limits.extend(_quotas(root))
    return min(limits)


def share(instances: int, maximum: int | None = None, root: str = "/") -> int:
    """Workers for one of *instances* that share the host's processors: rounded up, so that none stays idle."""
    workers = max(1, math.ceil(usable(root) / max(1, instances) - 0.001))
    return min(workers, max(1, maximum)) if maximum else workers


def _quotas(root: str):
    """Every processor quota above this process, of either version of control groups."""
    groups = Path(root, "sys/fs/cgroup")
    for line in _read(Path(root, "proc/self/cgroup")).splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            for folder in _up(groups, path):
                quota, _space, period = _read(folder / "cpu.max").partition(" ")
                yield from _ratio(quota, period)
        elif "cpu" in controllers.split(","):
            for mount in ("cpu", controllers):
                for folder in _up(groups / mount, path):
                    yield from _ratio(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _up(mount: Path, path: str):
    """The folders from *path* up to *mount*: a quota may be set on any of them.

    In a container the path can lie outside of what is mounted; the mount itself is then our own group.
    """
    parts = [part for part in path.split("/") if part and part != ".."]
    for length in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:length])


def _ratio(quota: str, period: str):
    with contextlib.suppress(ValueError):  # "max", or no such file
        if int(quota) > 0 and int(period) > 0:
            yield int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
