# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A lock that one run at a time holds, and that others wait for."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import typing as t

#: Seconds between two looks at a lock that is held.
POLL = 0.05


class Busy(Exception):
    """Another run has held the lock for as long as one waits."""


@contextlib.contextmanager
def held(path: str, patience: float) -> t.Iterator[None]:
    """Hold the lock. Its file is root's alone: whoever can open a file can hold its lock.

    :param patience: seconds to wait for another run
    :raises Busy: when that was not enough
    :raises OSError: when there can be no such file
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        give_up = time.monotonic() + patience
        if not take(descriptor, lambda: time.monotonic() <= give_up):
            raise Busy(path)
        yield
    finally:
        os.close(descriptor)


def take(descriptor: int, is_patient: t.Callable[[], bool]) -> bool:
    """Take the lock of an open file. Return whether it is ours.

    :param is_patient: whether to look again; asked after each look that found it held
    """
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if not is_patient():
                return False
            time.sleep(POLL)
