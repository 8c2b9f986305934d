# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Name the threads that a worker waits for after its last request: Python waits at its exit for all that are not daemons.

The worker ends when they do, or when its master kills it. With gevent, greenlets take the place of threads, and Python waits as well.
"""

from __future__ import annotations

import _thread
import sys
import threading
import time

from . import signals

#: Threads that end within this time need no line (seconds).
PATIENCE = 1.0


def name_those_that_hold(log, graceful_timeout: int) -> None:
    """Look after PATIENCE whether this process still waits for threads, and log them; returns at once."""
    monkey = sys.modules.get("gevent.monkey")
    # A native thread, whom nobody waits for, and whom gevent's loop does not have to turn for.
    start = monkey.get_original("_thread", "start_new_thread") if monkey else _thread.start_new_thread
    sleep = monkey.get_original("time", "sleep") if monkey else time.sleep

    def look():
        sleep(PATIENCE)
        names = [_described(thread) for thread in threading.enumerate() if _holds(thread)]
        if names:
            log.warning(
                "The worker has been done for %.1f s and waits for threads that are not daemons: %s. At a stop its master kills it when"
                " graceful_timeout (%s s) is over. With daemon=True a thread ends with its worker",
                PATIENCE,
                ", ".join(names),
                graceful_timeout,
            )

    start(look, ())


def _holds(thread: threading.Thread) -> bool:
    return thread.is_alive() and not thread.daemon and thread is not threading.main_thread()


def _described(thread: threading.Thread) -> str:
    return f"{thread.name} ({signals.place(getattr(thread, '_target', None) or type(thread).run)})"
