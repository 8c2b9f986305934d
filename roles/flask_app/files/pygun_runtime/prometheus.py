# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The directory of prometheus_client's multiprocess mode, if PROMETHEUS_MULTIPROC_DIR names one.

All instances of an app share it: a scrape reaches one of them, and answers for all. Files of processes that have ended go when
an instance starts, and those of gauges that count the living as soon as a worker has ended. prometheus_client itself is not
imported here: a master imports nothing of the app.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

#: Upstream's names: the type of the metric, for a gauge its mode, and the pid.
_FILE = re.compile(r"(?:counter|histogram|summary|gauge_(?P<mode>[a-z]+))_(?P<pid>\d+)\.db")


def make_directory() -> None:
    """Make it, if it is missing: /run is empty after each boot."""
    if folder := _folder():
        folder.mkdir(parents=True, exist_ok=True)


def sweep() -> None:
    """Remove the files of processes that have ended."""
    for path, _mode, pid in _files():
        if not Path("/proc", str(pid)).exists():
            path.unlink(missing_ok=True)


def mark_dead(pid: int) -> None:
    """As prometheus_client.multiprocess.mark_process_dead does: a gauge of the living does not count the dead."""
    for path, mode, owner in _files():
        if owner == pid and (mode or "").startswith("live"):
            path.unlink(missing_ok=True)


def forget(pid: int) -> None:
    """Remove all files of a process, such as one that only tried the app."""
    for path, _mode, owner in _files():
        if owner == pid:
            path.unlink(missing_ok=True)


def _folder() -> Path | None:
    name = os.environ.get("PROMETHEUS_MULTIPROC_DIR") or os.environ.get("prometheus_multiproc_dir")
    return Path(name) if name else None


def _files() -> Iterator[tuple[Path, str | None, int]]:
    folder = _folder()
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir()) if folder else ():
            if found := _FILE.fullmatch(path.name):
                yield path, found["mode"], int(found["pid"])
