# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Log calls that block the event loop of a gevent worker: until such a call ends, the worker serves no other request.

A timer of the loop notes four times a second that the loop turns. A native thread, which gevent does not stop, looks about once a second
at that note, and takes the stack of a loop that does not turn. A request costs nothing.
"""

from __future__ import annotations

import sys
import time
import traceback
from pathlib import Path

import gevent
import gunicorn
from gevent import monkey

#: How often the loop notes that it turns (seconds).
PERIOD = 0.25

#: A loop that has noted nothing for so long is blocked (seconds). A call that takes a second has begun after the last note.
LIMIT = 0.9

#: An app that blocks at each request has a line this often (seconds).
PAUSE = 10.0

_SERVER = tuple(str(Path(module.__file__).parent) for module in (gevent, gunicorn)) + (str(Path(__file__).parent),)


class LoopWatch:
    """Watches the loop of the thread that makes it."""

    def __init__(self, log):
        self._log = log
        self._note = time.monotonic()
        self._seen = None  # the note of a loop that did not turn, its request and its stack
        self._said_at = -PAUSE
        self._unsaid = 0
        self._thread = monkey.get_original("_thread", "get_ident")()
        self._sleep = monkey.get_original("time", "sleep")
        self._timer = gevent.get_hub().loop.timer(PERIOD, PERIOD, ref=False)
        self._timer.start(self._turn)
        monkey.get_original("_thread", "start_new_thread")(self._watch, ())

    def _turn(self) -> None:
        """In the hub, where nothing may wait: what there is to say is said in a greenlet."""
        self._note = time.monotonic()
        if self._seen:
            (note, request, stack), self._seen = self._seen, None
            gevent.spawn(self._say, self._note - note, request, stack)

    def _watch(self) -> None:
        while True:
            note = self._note
            left = note + LIMIT - time.monotonic()
            if left > 0:
                self._sleep(left)
                continue
            frame = sys._current_frames().get(self._thread)
            stack = _stack(frame)
            if stack:  # or the process was stopped, and its loop has had no time to turn
                self._seen = (note, _request(frame), stack)
            while self._note == note:
                self._sleep(PERIOD)

    def _say(self, seconds: float, request: str, stack: list) -> None:
        now = time.monotonic()
        if now - self._said_at < PAUSE:
            self._unsaid += 1
            return
        more = f" {self._unsaid} more such calls since the last of these lines." if self._unsaid else ""
        self._said_at, self._unsaid = now, 0
        self._log.warning(
            "Event loop blocked for %.1f s%s, nobody else was served.%s It was at:\n%s",
            seconds,
            f" by {request}" if request else "",
            more,
            "".join(traceback.format_list(stack)).rstrip("\n"),
            extra={"blocked_s": round(seconds, 1)},
        )


def _request(frame) -> str:
    """Method and path of the request that is served in *frame*; without the query, which may hold secrets."""
    while frame is not None:
        if frame.f_code.co_name == "handle_request":
            request = frame.f_locals.get("req")
            return f"{getattr(request, 'method', '?')} {getattr(request, 'path', '?')}"
        frame = frame.f_back
    return ""


def _stack(frame) -> list[tuple[str, int, str, None]]:
    """The stack from where the app is called; empty if it is not. Reads no file: the loop would go on meanwhile."""
    frames = [(one.f_code.co_filename, number, one.f_code.co_name, None) for one, number in traceback.walk_stack(frame)]
    while frames and frames[-1][0].startswith(_SERVER):
        del frames[-1]
    return frames[::-1]
