# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Remembers the digests of large files on the control node, so that a run without a change need not read them.

As git's index does, it takes a file for unchanged whose path, size, inode, mtime and ctime are the same. It does not
remember a file that has changed within the last seconds: the next change could have the same time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import time
from pathlib import Path

from .pack import digest_of

#: Bytes from which on a file is worth an entry.
LARGE = 1 << 20
#: Nanoseconds: no file system that we know has coarser times (FAT has two seconds).
_SETTLED = 3_000_000_000
_LARGEST_CACHE = 16 << 20
#: Sources that are remembered; the one that was used last goes last.
_SOURCES_AT_MOST = 50


class Digests:
    """The digests of the large files of one source.

    :param folder: where the caches of all sources are, or None to remember nothing
    """

    def __init__(self, folder: Path | None, root: Path) -> None:
        key = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
        self.file = folder / f"{key}.json" if folder else None
        self._known = self._read()
        self._used: dict[str, list] = {}

    def of(self, source: Path) -> str:
        """The digest of a file's content, read only if it may have changed."""
        before = source.stat()
        if self.file is None or before.st_size < LARGE:
            return digest_of(source)
        name, identity = str(source.resolve()), _identity(before)
        known = self._known.get(name)
        if known and known[:-1] == identity:
            self._used[name] = known
            return known[-1]
        found = digest_of(source)
        now = time.time_ns()
        if _identity(source.stat()) == identity and max(before.st_mtime_ns, before.st_ctime_ns) < now - _SETTLED:
            self._used[name] = [*identity, found]
        return found

    def save(self) -> None:
        """Store the digests of this run only. If they cannot be stored, the next run reads the files again."""
        if self.file is None or self._used == self._known:
            return
        part = self.file.with_suffix(f".{os.getpid()}")
        try:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
                json.dump(self._used, stream)
            part.rename(self.file)
            others = sorted(self.file.parent.glob("*.json"), key=lambda other: other.stat().st_mtime, reverse=True)
            for other in others[_SOURCES_AT_MOST:]:
                other.unlink()
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()

    def _read(self) -> dict[str, list]:
        if self.file is None:
            return {}
        try:
            with open(os.open(self.file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
                status = os.fstat(stream.fileno())
                if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
                    return {}
                found = json.loads(stream.read(_LARGEST_CACHE).decode("utf-8", "surrogateescape"))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {name: entry for name, entry in found.items() if _is_entry(entry)}


def _identity(status: os.stat_result) -> list[int]:
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _is_entry(found: object) -> bool:
    if not isinstance(found, list) or len(found) != 6 or not isinstance(found[-1], str):
        return False
    return len(found[-1]) == 64 and all(
        isinstance(number, int) and not isinstance(number, bool) for number in found[:-1]
    )
