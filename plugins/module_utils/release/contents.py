# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The files of a release: those that the control node has sent, and links to those of a former release of the app.

A complete release has ``files.json``: the signature (kind and digest), size and mtime of each file that is as it was sent.
Only root can write these files. A build account never gets a file that is linked: it gets the folders, or copies of the files.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import tarfile
import time
import typing as t

from ..host import build_account, foreign
from ..host.atomic import write_atomically
from .archive import opened
from .differences import LARGEST_MANIFEST, manifest_of
from .fetcher import sha256_of
from .requirement_lines import FOLDERS
from .store import ReleaseStore

_RECORD = "files.json"
_SIGNATURE = re.compile(r"(?:file|exec):[0-9a-f]{64}")


class Lacking(Exception):
    """A file was not sent, and the release that had it is gone."""


def known(store: ReleaseStore, without: str = "") -> dict[str, str]:
    """The signatures of all files that the complete releases hold, and where one of each is.

    :param without: a release that is to be built in its place, and can lend nothing
    """
    found: dict[str, str] = {}
    current = store.current()
    for release in sorted(store.ids(), key=lambda release: release != current):
        folder = store.path(release)
        for path, (signature, size, mtime) in _recorded(folder) if release != without else ():
            if signature not in found and _is_unchanged(os.path.join(folder, path), signature, size, mtime):
                found[signature] = os.path.join(folder, path)
    return found


def _recorded(folder: str) -> t.Iterator[tuple[str, list[t.Any]]]:
    try:
        entries = foreign.mapping(os.path.join(folder, _RECORD), LARGEST_MANIFEST)
    except (OSError, foreign.Unreadable):
        return
    for path, entry in entries.items():
        if isinstance(entry, list) and len(entry) == 3 and _SIGNATURE.fullmatch(str(entry[0])):
            yield path, entry


def _is_unchanged(path: str, signature: str, size: int, mtime: int) -> bool:
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return False
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_uid == os.geteuid()
        and stat.S_IMODE(status.st_mode) == (0o755 if signature.startswith("exec") else 0o644)
        and [status.st_size, status.st_mtime_ns] == [size, mtime]
    )


def free_space(path: str) -> int:
    """The bytes that may still be written below a directory, which need not be there yet."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


class Contents:
    """The files of a release that is being built at ``path``.

    :param requirements: the requirement files of the release
    """

    def __init__(self, path: str, requirements: t.Iterable[str] = ()) -> None:
        self.path = path
        #: Whether the build of a project in the source may write to its files: then there are no links before its end.
        self.is_built = any(os.path.basename(name) == FOLDERS for name in requirements)
        self._manifest: dict[str, str] = {}
        #: The paths of former releases' files, by signature.
        self.former: dict[str, str] = {}
        #: Device and inode of each file that only root could write so far.
        self._sealed: dict[tuple[int, int], str] = {}

    def unpack(self, archive: str, store: ReleaseStore, fetched: t.Collection[str] = ()) -> None:
        """Unpack the archive, and link the files that it lacks.

        :param fetched: paths in the source of files that come at the end, when no package is built any more (`app_files.py`)
        :raises Lacking: when a file is neither in the archive nor in another release
        """
        _extract(archive, self.path)
        self._manifest = manifest_of(store, os.path.basename(self.path))
        missing = [name for name in self._manifest if not os.path.lexists(os.path.join(self.path, name))]
        if self._manifest:
            self.former = known(store)
        for name in missing:
            _check_name(name)
            if name.removeprefix("src/") in fetched:
                continue
            origin = self.former.get(self._manifest[name])
            if origin is None:
                raise Lacking(name)
            target = os.path.join(self.path, name)
            os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
            if self.is_built and name.startswith("src/"):
                _copy(origin, target)
            else:
                link_or_copy(origin, target)
        for name, signature in self._manifest.items():
            try:
                status = os.lstat(os.path.join(self.path, name))
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode):
                self._sealed[_identity(status)] = signature

    @contextlib.contextmanager
    def lent(self, name: str, account: build_account.Account | None) -> t.Iterator[None]:
        """Hand the folder ``src`` or ``lib`` over to the build account, and take it over in the end."""
        folder = os.path.join(self.path, name)
        kept = build_account.hand_over(folder, account, folders_only=name != "src" or not self.is_built)
        lent = {identity for file in self._files(folder) if (identity := _identity(os.lstat(file))) in self._sealed}
        yield
        for identity in lent - build_account.take_over(folder, account, kept):
            del self._sealed[identity]

    def record(self) -> None:
        """Note which files are as they were sent, and share those that an older release has: all is root's by now."""
        found = {}
        for path in self._files(self.path):
            name = os.path.relpath(path, self.path)
            signature = self._manifest.get(name, "")
            if not _SIGNATURE.fullmatch(signature):
                continue
            status = os.lstat(path)
            origin = self.former.get(signature, "")
            is_other = not origin.startswith(f"{self.path}/")  # and not this release, in the place of a damaged one
            former = os.lstat(origin) if is_other and os.path.lexists(origin) else None
            is_linked = former is not None and _identity(former) == _identity(status)
            if not is_linked and self._signature(path, signature) != signature:
                continue
            if former and _is_copy(former, status):
                link_or_copy(origin, f"{path}.link")
                os.rename(f"{path}.link", path)
            found[name] = [signature, status.st_size, status.st_mtime_ns]
        write_atomically(os.path.join(self.path, _RECORD), json.dumps(found).encode(), 0o600)

    def _files(self, folder: str) -> t.Iterator[str]:
        """The path of every file that may be one that was sent. No link is followed."""
        for here, names, files in os.walk(folder):
            if here == self.path:
                names[:] = [name for name in names if name != "venv"]
            for name in files:
                yield os.path.join(here, name)

    def _signature(self, path: str, wanted: str) -> str:
        status = os.lstat(path)
        sealed = self._sealed.get(_identity(status))
        if sealed or not stat.S_ISREG(status.st_mode):
            return sealed or ""
        if stat.S_IMODE(status.st_mode) != (0o755 if wanted.startswith("exec") else 0o644):
            return ""
        return f"{wanted[:4]}:{sha256_of(path)}"


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _is_copy(origin: os.stat_result, status: os.stat_result) -> bool:
    """Whether a file is another one, whose place the former one can take: byte code names the time of its source."""
    return _identity(origin) != _identity(status) and origin.st_mtime_ns == status.st_mtime_ns


def _copy(origin: str, target: str) -> None:
    shutil.copyfile(origin, target)
    shutil.copystat(origin, target)


def link_or_copy(origin: str, target: str) -> None:
    """Let a file of root's have another name."""
    try:
        os.link(origin, target)
    except OSError:  # too many links, or a file system without any
        _copy(origin, target)


def _check_name(name: str) -> None:
    if os.path.isabs(name) or ".." in name.split("/"):
        raise tarfile.TarError(f"{name} leads out of the release")


def _extract(archive: str, path: str) -> None:
    built = time.time()
    with opened(archive) as packed:
        packed.extraction_filter = lambda member, _path: member  # a link to a path of the host is meant to lead out
        for member in packed:
            _check_name(member.name)
            member.mtime = built  # an archive has no times, and browsers are told those of static files
            member.uid = member.gid = 0
            member.uname = member.gname = "root"
            packed.extract(member, path)
