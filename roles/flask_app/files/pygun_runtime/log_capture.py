# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Capture output without the logging module: print, sys.stdout and sys.stderr, warnings, uncaught exceptions.

Only what Python code says. Native code and child processes write to the file descriptors 1 and 2, which stay what
they are, as do sys.__stdout__ and sys.__stderr__.
"""

from __future__ import annotations

import atexit
import io
import logging
import sys
import threading

from . import app_lines

#: Characters of an unfinished line that are kept before it counts as one.
LONGEST_PART = 1024 * 1024

_TRACEBACK = "Traceback (most recent call last):"


class LineStream(io.TextIOBase):
    """Takes the place of sys.stdout or sys.stderr: each line becomes an event, a printed traceback one as a whole.

    say: called with each event (app_lines.Event), and its exception if there is one
    original: the stream whose place it takes
    """

    def __init__(self, say, original):
        super().__init__()
        self._say = say
        self._original = original
        self._parts: dict[int, str] = {}
        self.buffer = _Bytes(self)

    encoding = "utf-8"
    errors = "backslashreplace"
    line_buffering = True

    def writable(self):
        return True

    def fileno(self):
        return self._original.fileno()

    def isatty(self):
        return False

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        handled = app_lines.handled.get()
        if handled is not None:
            handled.parts.append(text)
            return len(text)
        if text.__class__ is not str and self._say_loguru(text):
            return len(text)
        who = _whoever_writes()
        whole = self._parts.pop(who, "") + text
        while whole:
            end = _end_of_event(whole)
            if not end and len(whole) < LONGEST_PART:
                self._parts[who] = whole
                break
            end = end or len(whole)
            event, whole = whole[:end].rstrip("\r\n"), whole[end:]
            if event:
                self._say(app_lines.understood(event))
        return len(text)

    def _say_loguru(self, text) -> bool:
        found = app_lines.of_loguru(text)
        if found:
            self._say(*found)
        return found is not None

    def flush(self):
        """Nothing waits here but unfinished lines, and those wait for their end."""

    def finish(self):
        """The process ends, and so do the lines."""
        while self._parts:
            _who, text = self._parts.popitem()
            if text.strip():
                self._say(app_lines.understood(text.rstrip("\r\n")))

    def reconfigure(self, **_options):
        pass


class _Bytes(io.RawIOBase):
    """sys.stdout.buffer"""

    def __init__(self, stream):
        super().__init__()
        self._stream = stream

    def writable(self):
        return True

    def fileno(self):
        return self._stream.fileno()

    def write(self, data):
        data = bytes(data)
        self._stream.write(data.decode("utf-8", "backslashreplace"))
        return len(data)


def _whoever_writes() -> int:
    """Lines of two writers must not be mixed; greenlets of gevent share a thread."""
    greenlet = sys.modules.get("greenlet")
    return id(greenlet.getcurrent()) if greenlet else threading.get_ident()


def _end_of_event(text: str) -> int:
    """Where the first event of *text* ends; 0 if it has not ended yet."""
    end = text.find("\n") + 1
    if not end or not text.startswith(_TRACEBACK):
        return end
    while end < len(text):  # the frames are indented, the line after them says what was raised
        begin, end = end, text.find("\n", end) + 1
        if not end:
            return 0
        if text[begin] not in " \t\n":
            return end
    return 0


def install(say, say_record) -> None:
    """Have *say(level, logger, message, exception)* told whatever comes up; may be repeated.

    say_record: called with what the app's own handlers write to stdout and stderr, see app_lines.watch_handlers
    """
    _install_streams(say)
    app_lines.watch_handlers(say_record)
    logging.captureWarnings(True)

    def uncaught(kind, value, trace):
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, value, trace)
        else:
            say("critical", "uncaught", "Uncaught exception", (kind, value, trace))

    def uncaught_in_thread(found):
        if found.exc_type is not SystemExit:
            name = found.thread.name if found.thread else "?"
            say(
                "error",
                "uncaught",
                f"Uncaught exception in thread {name}",
                (found.exc_type, found.exc_value, found.exc_traceback),
            )

    def unraisable(found):
        text = f"{found.err_msg or 'Exception ignored in'}: {found.object!r}"
        say("error", "uncaught", text, (found.exc_type, found.exc_value, found.exc_traceback))

    sys.excepthook = uncaught
    threading.excepthook = uncaught_in_thread
    sys.unraisablehook = unraisable
    install_in_gevent(say)


def _install_streams(say) -> None:
    for name, level in (("stdout", "info"), ("stderr", "warning")):
        stream = getattr(sys, name)
        if isinstance(stream, LineStream) or stream is None or stream.isatty():  # people, and debuggers, talk there
            continue
        stream.flush()

        def say_line(event, exception=None, name=name, level=level):
            say(event.level or level, event.logger or name, event.message, exception, event.stack, event.labels)

        captured = LineStream(say_line, stream)
        setattr(sys, name, captured)
        atexit.register(captured.finish)


def install_in_gevent(say) -> None:
    """Capture exceptions that end a greenlet, which gevent prints. Called again in a worker, which may be the first to load gevent."""
    hub = sys.modules.get("gevent.hub")
    if hub is None or hasattr(hub.Hub, "pygun_print_exception"):
        return
    hub.Hub.pygun_print_exception = hub.Hub.print_exception

    def print_exception(self, context, kind, value, trace):
        kind, value, trace = self._normalize_exception(kind, value, trace)
        text = f"Uncaught exception in {context!r}" if context is not None else "Uncaught exception in gevent's hub"
        say("error", "uncaught", text, (kind, value, trace))

    hub.Hub.print_exception = print_exception
