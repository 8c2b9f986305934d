# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The files that an activation writes, and how it puts back what they replaced."""

from __future__ import annotations

import dataclasses
import glob
import os
import typing as t

from ..host.atomic import remove_file, sync_directory, write_atomically


@dataclasses.dataclass(frozen=True)
class ManagedFile:
    """A file that is written inside the transaction. Without content it is only looked at, or removed (``absent``)."""

    path: str
    content: bytes | None
    mode: int
    group: str | None = None
    absent: bool = False

    def on_disk(self) -> bytes | None:
        """The bytes of the file on disk."""
        try:
            with open(self.path, "rb") as stream:
                return stream.read()
        except FileNotFoundError:
            return None

    def differs(self) -> bool:
        """Whether writing (or removing) it would change anything."""
        if self.absent:
            return self.on_disk() is not None
        return self.content is not None and self.content != self.on_disk()

    def managed(self) -> bool:
        """Whether the transaction writes or removes the file. Otherwise it only reads it."""
        return self.absent or self.content is not None


def set_aside(path: str) -> dict[str, t.Any]:
    """Copy a file next to itself; return the entry with which `put_back` restores it."""
    try:
        with open(path, "rb") as stream:
            content, found = stream.read(), os.fstat(stream.fileno())
    except FileNotFoundError:
        return {"path": path, "aside": None}
    aside = f"{path}.before"
    root = os.geteuid() == 0
    write_atomically(aside, content, 0o600, 0 if root else -1, 0 if root else -1)
    return {
        "path": path,
        "aside": aside,
        "mode": found.st_mode & 0o7777,
        "uid": found.st_uid if root else -1,
        "gid": found.st_gid if root else -1,
    }


def put_back(entry: dict[str, t.Any]) -> None:
    """Undo the writing of one file, by a rename, which works on a full disk too. May be repeated."""
    if entry["aside"] is None:
        remove_file(entry["path"])
    elif os.path.exists(entry["aside"]):
        if entry["uid"] != -1:
            os.chown(entry["aside"], entry["uid"], entry["gid"])
        os.chmod(entry["aside"], entry["mode"])
        os.rename(entry["aside"], entry["path"])
    sync_directory(os.path.dirname(entry["path"]))


def remove_leftovers(path: str) -> None:
    """Remove the temporary files that a killed write left next to a file; they may contain secrets."""
    for leftover in glob.glob(f"{glob.escape(path)}.*.tmp"):
        remove_file(leftover)
