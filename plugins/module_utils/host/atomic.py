# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files, links and directories that are replaced whole or not at all, and survive a power cut."""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import shutil
import subprocess
import typing as t


def now() -> str:
    """This moment as every file of the collection writes it: ISO 8601, UTC, to the microsecond (it orders as text)."""
    return timestamp(datetime.datetime.now(datetime.timezone.utc))


def timestamp(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def sync_directory(path: str) -> None:
    """Make a rename or unlink in this directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: str, content: bytes | t.Iterable[bytes], mode: int, uid: int = -1, gid: int = -1) -> None:
    """Replace a file in one rename; a reader sees the old or the new bytes, never a mixture. Large ones may come in blocks.

    The new bytes are never readable by more people than ``mode`` allows, not even for a moment.
    """
    temporary = f"{path}.{os.getpid()}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            if uid != -1 or gid != -1:
                os.fchown(stream.fileno(), uid, gid)
            os.fchmod(stream.fileno(), mode)
            stream.writelines([content] if isinstance(content, bytes) else content)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, path)
    except BaseException:
        remove_file(temporary)
        raise
    sync_directory(os.path.dirname(path))


def write_link(path: str, target: str) -> None:
    """Point a symbolic link somewhere else in one rename."""
    temporary = f"{path}.{os.getpid()}.tmp"
    remove_file(temporary)
    os.symlink(target, temporary)
    os.rename(temporary, path)
    sync_directory(os.path.dirname(path))


def remove_file(path: str) -> bool:
    """Remove a file or link; say whether there was one."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def remove_tree(path: str, ignore_errors: bool = False) -> None:
    """Remove a folder with all its contents, however deeply nested. Without a folder, do nothing."""
    if os.path.islink(path):
        os.unlink(path)
    if not os.path.lexists(path):
        return
    try:
        shutil.rmtree(path)
    except (OSError, RecursionError) as error:  # rm knows no depth that is too much for it
        subprocess.run(["rm", "-rf", "--one-file-system", "--", path], check=False, stderr=subprocess.DEVNULL)  # pylint: disable=ansible-bad-function
        if os.path.lexists(path) and not ignore_errors:
            raise OSError(f"{path} cannot be removed: {error}") from error


@contextlib.contextmanager
def kept_aside(path: str) -> t.Iterator[None]:
    """Move a directory aside while a new one is made in its place. It comes back if that fails; after a kill, by `put_back`."""
    aside, old = f"{path}.before", f"{path}.old"
    put_back(path)
    if os.path.isdir(path):
        _rename_folder(path, aside)
    try:
        yield
    except BaseException:
        remove_tree(path, ignore_errors=True)
        put_back(path)
        raise
    if os.path.isdir(aside):
        _rename_folder(aside, old)
        remove_tree(old, ignore_errors=True)


def _rename_folder(path: str, target: str) -> None:
    """Rename a folder. A container's file system cannot do so with one that its image holds: it is copied, then removed."""
    try:
        os.rename(path, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy = f"{target}.tmp"
        remove_tree(copy)
        shutil.copytree(path, copy, symlinks=True, copy_function=_copy_with_owner)
        for folder, _names, _others in os.walk(copy):
            _copy_owner(os.path.join(path, os.path.relpath(folder, copy)), folder)
        os.rename(copy, target)
        remove_tree(path)


def _copy_with_owner(path: str, copy: str) -> str:
    shutil.copy2(path, copy, follow_symlinks=False)
    _copy_owner(path, copy)
    return copy


def _copy_owner(path: str, copy: str) -> None:
    status = os.lstat(path)
    os.chown(copy, status.st_uid, status.st_gid, follow_symlinks=False)


def put_back(path: str) -> None:
    """Undo a `kept_aside` that was killed: remove the new directory, which may be incomplete, and restore the old one."""
    aside = f"{path}.before"
    if os.path.isdir(aside):
        remove_tree(path, ignore_errors=True)
        _rename_folder(aside, path)
    remove_tree(f"{path}.old", ignore_errors=True)
