# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lock of the folder of programs."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ..host.lock import Busy, held
from .errors import ProgramsError

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
    with contextlib.ExitStack() as stack:
        try:
            os.stat(os.path.join(folder, ""))
            stack.enter_context(held(lock_of(folder), LOCK_TIMEOUT))
        except OSError as error:
            raise ProgramsError(
                f"{folder}: {error.strerror}. Apply pygun.stack.supervisor to this host before. Nothing was changed."
            ) from error
        except Busy:
            raise ProgramsError(
                f"Another run has been changing programs in {folder} for {LOCK_TIMEOUT:g} s. Nothing was changed."
                " Wait for it to end, then run this again."
            ) from None
        yield
