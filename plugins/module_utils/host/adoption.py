# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Daemons of a process that this one starts: they leave their parents and sessions, and end with what started them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
import typing as t

from .text import read_text, real_user_of, status_of

_SET_CHILD_SUBREAPER = 36  # of prctl(2)
#: Seconds for which what goes on forking is killed.
_KILLING = 5.0
_PAUSE = 0.01
#: Seconds after which a process that was killed should be gone.
_LOOK = 0.2


@contextlib.contextmanager
def daemons_ended() -> t.Iterator[None]:
    """Kill what processes that are started within leave behind.

    The kernel gives a process whose parents have ended to this process, wherever else it has gone.
    """
    before = _children()
    adopts = adopt(True)
    try:
        yield
    finally:
        give_up = time.monotonic() + _KILLING
        while adopts and (left := _children() - before) and time.monotonic() < give_up:
            for pid in left:  # a child whose end nobody has asked for keeps its pid
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
                end_tracer(pid)
            time.sleep(_PAUSE)
        adopt(False)


def wait_for_killed(process: subprocess.Popen) -> None:
    """Wait for the end of a process that was killed.

    The kernel tells its parent only after who traces it, and that may never ask: so this one is killed as well.
    """
    while True:
        try:
            process.wait(_LOOK)
            return
        except subprocess.TimeoutExpired:
            end_tracer(process.pid)


def end_tracer(pid: int) -> None:
    """Kill the process that traces another one, if it is not root's."""
    tracer = int(status_of(pid).get("TracerPid") or 0)
    if tracer and real_user_of(tracer):
        with contextlib.suppress(ProcessLookupError):
            os.kill(tracer, signal.SIGKILL)


def adopt(value: bool) -> bool:
    """Whether this process gets its descendants whose own parents have ended; returns whether the kernel has heard it."""
    return ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, ctypes.c_ulong(value), 0, 0, 0) == 0


def _children() -> set[int]:
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return {pid for pid in pids if _parent(pid) == os.getpid()}


def _parent(pid: int) -> int:
    fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0
