# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bound a part of the boot: an alarm that raises, and behind it a watchdog that works without the interpreter.

gunicorn's `timeout` does not apply before a worker's first heartbeat, and never to the master.
"""

from __future__ import annotations

import faulthandler
import math
import os
import signal
import sys
import time
import traceback

#: The watchdog fires this much later (seconds) than the alarm: the alarm can say more, and can clean up.
WATCHDOG_DELAY = 2.0

#: Called, without arguments, when the alarm of any limit strikes. The trial of a release announces it.
listeners: list = []


class TimeLimitExceeded(SystemExit):
    """SystemExit passes an app's `except Exception`, and gevent's hub hands it on to the waiting greenlet."""


class TimeLimit:
    """One alarm at a time; `stop` may be called when nothing runs."""

    def __init__(self):
        self._armed = False
        self._handler = None
        self._before = signal.SIG_DFL  # the app's, if it has set one meanwhile
        self._until = 0.0
        # A child has no watchdog thread, and would wait for it for ever: gunicorn forks when it becomes a daemon.
        os.register_at_fork(before=self._pause, after_in_parent=self._resume)

    def start(self, seconds: float, exit_code: int, report) -> None:
        """After *seconds*, call *report(stack)* with the text of where the code is, and raise TimeLimitExceeded.

        If that does no good (code that holds the interpreter, or swallows everything), the process dumps its
        stacks to stderr and ends with code 1.
        """

        def expired(_signum, frame):
            for listener in listeners:
                listener()
            report("".join(traceback.format_stack(_hung(frame))))
            raise TimeLimitExceeded(exit_code)

        self._armed = True
        if (found := signal.getsignal(signal.SIGALRM)) is not self._handler:
            self._before = found
        self._handler = expired
        signal.signal(signal.SIGALRM, expired)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        self._until = time.monotonic() + seconds + WATCHDOG_DELAY
        self._resume()

    def _pause(self) -> None:
        if self._armed:
            faulthandler.cancel_dump_traceback_later()

    def _resume(self) -> None:
        if self._armed:
            left = max(math.ceil(self._until - time.monotonic()), 1)
            faulthandler.dump_traceback_later(left, exit=True, file=sys.__stderr__)

    def stop(self) -> None:
        if self._armed:
            self._armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            if signal.getsignal(signal.SIGALRM) is self._handler:
                signal.signal(signal.SIGALRM, self._before)
            faulthandler.cancel_dump_traceback_later()


def _hung(frame):
    """The frame worth showing: with gevent the handler runs in the hub while the boot waits in the main greenlet."""
    greenlet = sys.modules.get("greenlet")
    if greenlet is None:
        return frame
    main = greenlet.getcurrent()
    if main.parent is None:
        return frame
    while main.parent is not None:
        main = main.parent
    return main.gr_frame or frame
