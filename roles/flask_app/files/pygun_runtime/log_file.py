# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where lines go: appended to a file by master and workers alike, each line with one write.

The kernel appends the lines of several processes one after the other, so nobody stands between them: a pipe to a
process that writes for all would cost its time for every line, and hold up the service when it is slow.

The file is made by root (the app must not be able to plant links in a directory that root writes to). Somebody else
renames it when it is large; that is noticed within a second, and until there is a new one the old one is written to.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
import time
import weakref

#: Seconds between two looks at whether the file is still the one that has the name.
LOOK_EVERY = 1.0

#: How long to wait for another thread that opens the file (seconds).
PATIENCE = 0.1

#: A full volume is tried again once a second, and only when it has this much room (bytes): in what is left of a
#: block, a short line would fit now and then.
ENOUGH_ROOM = 64 * 1024

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_open_files: weakref.WeakSet[LogFile] = weakref.WeakSet()


def write_fully(descriptor: int, data: bytes) -> None:
    """Write to a terminal or a pipe, which may be slow; ignore a closed one."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [], 1.0)
        except OSError:
            return


class Stream:
    """A file descriptor that was there before."""

    def __init__(self, descriptor: int):
        self.descriptor = descriptor

    def write(self, line: bytes, _now: float) -> None:
        write_fully(self.descriptor, line)

    def reopen(self) -> None:
        pass


class LogFile:
    """A file that lines are appended to.

    path: of the file
    create: make it if it is missing
    events: told when the volume is full, see `VolumeEvents`
    """

    def __init__(self, path: str, *, create: bool = False, events=None):
        self.path = path
        self.lost = 0
        self._flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY
        self._flags |= os.O_CREAT if create else os.O_NOFOLLOW
        self.events = events or VolumeEvents()
        self._descriptor = -1
        self._identity = None
        self._looked = 0.0
        self._shared = False  # with the process that we were forked from
        self._looking = threading.Lock()
        self._full_since = 0.0
        self._full_error = 0
        self._torn = False
        self._try_again = 0.0
        _open_files.add(self)

    def write(self, line: bytes, now: float) -> None:
        """Append *line*; never raises, and loses it only if the volume is full. *now* is time.time()."""
        if not 0 <= now - self._looked < LOOK_EVERY:
            self._look(now)
        if self._full_since and not self._has_room(now):
            self.lost += 1
            return
        if self._descriptor < 0 and not self._opened_meanwhile():
            write_fully(2, line)
            return
        try:
            written = os.write(self._descriptor, b"\n" + line if self._torn else line)
        except OSError as error:
            if error.errno in _FULL:
                self._is_full(now, error.errno)
            else:
                self._descriptor = -1  # the app has closed it, or the disk is broken
                self._looked = 0.0
                write_fully(2, line)
            return
        if written < len(line):
            self._take_back(written)
            self._is_full(now, errno.ENOSPC)
        else:
            self._torn = False

    def reopen(self) -> None:
        """Look at once whether the file has been renamed."""
        self._looked = 0.0

    def was_forked(self) -> None:
        self._shared = True
        self._looking = threading.Lock()  # a thread that does not exist here may have held it
        self._looked = 0.0
        self._full_since = 0.0  # what was lost before is told by who lost it
        self.lost = 0

    def _look(self, now: float) -> None:
        if not self._looking.acquire(blocking=False):
            return  # another thread does
        try:
            self._looked = now
            if self._descriptor >= 0 and not self._is_ours():
                self._descriptor = -1
            if self._shared or self._descriptor < 0 or _identity(os.stat(self.path)) != self._identity:
                self._open()
        except OSError:
            pass  # what is open still is the log: it has been renamed, and its successor will be there soon
        finally:
            self._looking.release()

    def _opened_meanwhile(self) -> bool:
        """Whether another thread, which is looking just now, opens the file.

        A signal handler may have interrupted the one that looks, and would wait for ever.
        """
        give_up = time.monotonic() + PATIENCE
        while self._descriptor < 0 and self._looking.locked() and time.monotonic() < give_up:
            os.sched_yield()
        return self._descriptor >= 0

    def _is_ours(self) -> bool:
        """Whether the descriptor has not been closed behind our back; its number may mean something else by now."""
        try:
            return _identity(os.fstat(self._descriptor)) == self._identity
        except OSError:
            return False

    def _open(self) -> None:
        opened = os.open(self.path, self._flags, 0o640)
        self._identity = _identity(os.fstat(opened))
        self._shared = False
        if self._descriptor < 0:
            self._descriptor = opened
        else:
            # The number stays: another thread may be about to write to it.
            os.dup2(opened, self._descriptor, inheritable=False)
            os.close(opened)

    # -- a full volume -------------------------------------------------------------------------------------------------

    def _take_back(self, written: int) -> None:
        """Remove a half line that was just appended; it may take turns with those of other processes."""
        descriptor = self._descriptor
        with contextlib.suppress(OSError):
            end = os.lseek(descriptor, 0, os.SEEK_CUR)
            for _attempt in range(1000):
                if os.fstat(descriptor).st_size == end:
                    os.ftruncate(descriptor, end - written)
                    return
                os.sched_yield()
        self._torn = True

    def _is_full(self, now: float, error: int) -> None:
        self.lost += 1
        self._try_again = now + LOOK_EVERY
        self._full_error = error
        if not self._full_since:
            self._full_since = now
            self.events.full(self.path, os.strerror(error))

    def _has_room(self, now: float) -> bool:
        if 0 < self._try_again - now <= LOOK_EVERY:
            return False
        self._try_again = now + LOOK_EVERY
        try:
            if self._full_error == errno.ENOSPC:
                volume = os.fstatvfs(self._descriptor)
                if volume.f_bavail * volume.f_frsize < ENOUGH_ROOM:
                    return False
            report = self.events.report(self.path, self.lost, self._full_since, now)
            written = os.write(self._descriptor, report)
        except OSError:
            return False
        if written < len(report):
            self._take_back(written)
            return False
        self._full_since = 0.0
        self.lost = 0
        self.events.room()
        return True


class VolumeEvents:
    """Callbacks for a full volume, and for one that has room again; these do nothing."""

    def full(self, path: str, why: str) -> None:
        """The first line has been dropped."""

    def report(self, _path: str, _lost: int, _since: float, _now: float) -> bytes:
        """The line that goes before the first one that is written again."""
        return b""

    def room(self) -> None:
        """Lines are written again."""


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _after_fork() -> None:
    # A file position of our own: taking back a half line needs it.
    for file in tuple(_open_files):
        file.was_forked()


os.register_at_fork(after_in_child=_after_fork)
