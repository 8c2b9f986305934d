# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Show the progress of a long step: its name, the amount done, and the time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ansible.utils.display import Display

from .text import size

# Ansible's main process imports this file. The processes that run tasks have no terminal.
_IS_TERMINAL = os.isatty(1)
#: Seconds until the first line, and between two lines.
FIRST, EVERY = (3.0, 5.0) if _IS_TERMINAL else (10.0, 10.0)


class Amount:
    """How many bytes of a step are done."""

    def __init__(self, total: int = 0) -> None:
        self.total = total
        self.done = 0

    def set(self, done: int) -> None:
        self.done = done

    def __str__(self) -> str:
        return f", {size(self.done)} of {size(self.total)}" if self.total else ""


@contextmanager
def shown(step: str, amount: Amount | None = None, say: Callable[[str], object] | None = None) -> Iterator[Amount]:
    """Show a line every few seconds while the step lasts; the caller keeps the amount up to date."""
    amount = amount or Amount()
    say = say or Display().display
    ended = threading.Event()
    begun = time.monotonic()

    def show() -> None:
        wait = FIRST
        while not ended.wait(wait):
            say(f"{step}{amount}, {time.monotonic() - begun:.0f} s so far")
            wait = EVERY

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield amount
    finally:
        ended.set()
        thread.join()
