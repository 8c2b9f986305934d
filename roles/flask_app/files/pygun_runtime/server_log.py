# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write the messages of gunicorn and the runtime, whatever the app does to the logging module.

An app may disable the logger gunicorn.error, take its handlers away, raise its level, or call logging.disable(). So its lines do not
pass through it: they are written first, and then offered to the handlers that the app has put there.
"""

from __future__ import annotations

import contextlib
import logging
import sys

_Record = logging.LogRecord


class ServerLog:
    """Stands for the logger *named* in gunicorn's own Logger; for all but logging it is that logger.

    level: what is less severe is left out
    handler: writes records
    """

    def __init__(self, named: logging.Logger, level: int, handler):
        self._named = named
        self._level = level
        self._handler = handler

    def __getattr__(self, name):
        return getattr(self._named, name)

    def isEnabledFor(self, level) -> bool:  # noqa: N802
        return level >= self._level

    def log(self, level, msg, *args, exc_info=None, extra=None, **_more):
        if level < self._level:
            return
        record = _record(self._named.name, level, msg, args, _exception(exc_info), extra)
        self._handler.emit(record)
        if self._named.isEnabledFor(level):
            with contextlib.suppress(Exception):  # of a handler of the app
                self._named.handle(record)

    def debug(self, msg, *args, **options):
        self.log(logging.DEBUG, msg, *args, **options)

    def info(self, msg, *args, **options):
        self.log(logging.INFO, msg, *args, **options)

    def warning(self, msg, *args, **options):
        self.log(logging.WARNING, msg, *args, **options)

    def error(self, msg, *args, **options):
        self.log(logging.ERROR, msg, *args, **options)

    def critical(self, msg, *args, **options):
        self.log(logging.CRITICAL, msg, *args, **options)

    def exception(self, msg, *args, exc_info=True, **options):
        self.log(logging.ERROR, msg, *args, exc_info=exc_info, **options)


def _record(name, level, msg, args, exception, extra) -> logging.LogRecord:
    """A record as the app's factory makes it, if that can: its formatters may need what it adds."""
    values = (name, level, __file__, 0, msg, args, exception)
    record = None
    with contextlib.suppress(Exception):
        record = logging.getLogRecordFactory()(*values)
    if not isinstance(record, _Record):
        record = _Record(*values)
    record.__dict__.update(extra or {})
    return record


def _exception(given):
    if isinstance(given, BaseException):
        return type(given), given, given.__traceback__
    if given and not isinstance(given, tuple):
        return sys.exc_info()
    return given
