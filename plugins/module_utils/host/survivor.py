# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Work in a child process that outlives its parent.

The standard library only, and no other file of the collection: on a host the memory guard has a copy of this file.
"""

from __future__ import annotations

import os
import signal
import typing as t


def finish(work: t.Callable[[], str], meanwhile: t.Callable[[], None] = lambda: None) -> str:
    """Run ``work`` in a child that outlives a kill of this process; return its text, empty if it raised an exception.

    :param meanwhile: runs in this process while the child works
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            os.setsid()
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
                signal.signal(number, signal.SIG_IGN)
            text = work()
            with os.fdopen(writing, "w", encoding="utf-8") as stream:  # last: the parent may be gone
                stream.write(text)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    meanwhile()
    with os.fdopen(reading, encoding="utf-8") as stream:
        text = stream.read()
    os.waitpid(child, 0)
    return text
