# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One change at a time for each app: the lock that building and activating a release hold."""

from __future__ import annotations

import contextlib
import json
import os
import time
import typing as t

from ..host import foreign
from ..host.atomic import now
from ..host.inspection import lock_holders
from ..host.lock import take
from ..host.text import stat_of

#: Longest hold time, in seconds, that a holder may announce.
LONGEST_PROMISE = 2 * 3600


class Held(Exception):
    """Another process holds the lock; ``holder`` has pid, since and by as far as they are known."""

    def __init__(self, holder: dict[str, t.Any]) -> None:
        super().__init__(
            f"Another deploy, restart or rollback of this app runs: pid {holder.get('pid', '?')}, since"
            f" {holder.get('since', '?')}, started by {holder.get('by') or '?'}. Nothing was changed."
            " Wait for it to end, then run this again."
        )
        self.holder = holder


@contextlib.contextmanager
def locked(root: str, by: str, patience: float) -> t.Iterator[None]:
    """Hold the lock of the app under ``root``. Refused at once while its holder lives, unless that is the memory guard.

    The guard restarts one instance, and says in the lock until when (``until``): that is waited for.
    The lock outlives a killed activation for as long as its child finishes a restart; that is waited for, ``patience``
    seconds at most.
    """
    path = os.path.join(root, "activation.lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as stream:
        os.fchmod(descriptor, 0o600)  # who can open it can hold it
        give_up, holder = time.monotonic() + patience, {}

        def is_patient() -> bool:
            nonlocal holder
            holder = _holder(stream)
            if _is_alive(holder.get("pid")):
                return time.time() < _until(holder)
            if time.monotonic() < give_up:
                return True
            holder = {"pid": next(iter(lock_holders(path)), "?")}  # nobody who follows the rules
            return False

        if not take(descriptor, is_patient):
            raise Held(holder)
        stream.seek(0)
        stream.truncate()
        json.dump({"pid": os.getpid(), "since": now(), "by": by}, stream)
        stream.flush()
        yield
        # The file stays: unlinking it would let two runs hold "the" lock on two files.
        stream.seek(0)
        stream.truncate()


def _holder(stream: t.TextIO) -> dict[str, t.Any]:
    stream.seek(0)
    try:
        found = foreign.parse(stream.read(foreign.LARGEST_RECORD))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _until(holder: dict[str, t.Any]) -> float:
    """Until when the holder, by its own word, needs the lock at most."""
    until = holder.get("until")
    return float(until) if isinstance(until, (int, float)) and until < time.time() + LONGEST_PROMISE else 0.0


def _is_alive(pid: t.Any) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return bool(stat_of(pid))
