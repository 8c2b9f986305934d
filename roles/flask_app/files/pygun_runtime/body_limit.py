# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A limit on the time that the body of a request may take: a caller who sends a byte now and then holds a worker otherwise.

gunicorn has a limit for the head of a request, and none for the body.
"""

from __future__ import annotations

import errno
import time


def begin(request, seconds: float) -> None:
    """Have reads of this request's body fail once it has taken that long since its head was there.

    Between the reads nothing is limited: not the app's own time, and not the pause before the connection's next request.
    """
    unreader, reader = getattr(request, "unreader", None), getattr(request.body, "reader", None)
    sock = getattr(unreader, "sock", None)
    if sock is None or reader is None:  # a request of HTTP/2, whose connection has a loop of its own
        return
    read, end = reader.read, time.monotonic() + seconds

    def chunk_in_time(*arguments):
        left, before = end - time.monotonic(), sock.gettimeout()
        if left > 0:
            sock.settimeout(left)
            try:
                return type(unreader).chunk(unreader, *arguments)
            except TimeoutError:
                pass
            finally:
                sock.settimeout(before)
        text = f"the body of the request did not come within {seconds:g} s (flask_app_body_timeout)"
        raise TimeoutError(errno.ETIMEDOUT, text)

    def read_in_time(*arguments):
        unreader.chunk = chunk_in_time
        try:
            return read(*arguments)
        finally:
            del unreader.chunk

    reader.read = read_in_time
