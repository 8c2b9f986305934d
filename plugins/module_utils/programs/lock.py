# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lock of the folder of programs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import typing as t

from .errors import ProgramsError
from .groups import POLL

#: Seconds to wait for another run.
LOCK_TIMEOUT = 120.0


def lock_of(folder: str) -> str:
    """Where the lock of a folder of programs is."""
    return f"{folder.rstrip('/')}.lock"


@contextlib.contextmanager
def alone(folder: str) -> t.Iterator[None]:
    """Let one run at a time change this folder, whatever its scope: supervisord re-reads the files of all scopes.

    The lock is a file beside the folder: every user may open the folder, and whoever can open a file can hold its lock.
    """
    try:
        os.stat(os.path.join(folder, ""))
        descriptor = os.open(lock_of(folder), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ProgramsError(
            f"{folder}: {error.strerror}. Apply pygun.stack.supervisor to this host before. Nothing was changed."
        ) from error
    try:
        os.fchmod(descriptor, 0o600)
        give_up = time.monotonic() + LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise ProgramsError(
                        f"Another run has been changing programs in {folder} for {LOCK_TIMEOUT:g} s. Nothing was changed."
                        " Wait for it to end, then run this again."
                    ) from None
                time.sleep(POLL)
        yield
    finally:
        os.close(descriptor)
