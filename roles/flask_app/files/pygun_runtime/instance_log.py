# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The log of one process: of an instance (see logs), or of a program of the release (see program_log).

Nothing of gunicorn is imported here: a worker of Celery imports gevent itself, before it imports ssl.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import json
import logging
import os
import time
import traceback
from pathlib import Path

from . import app_lines, request_id
from .log_file import LogFile, Stream, VolumeEvents
from .log_forward import Forwarder, Journald, Syslog, tell_the_host
from .log_line import JsonLines, Lines, Redaction, TextLines, timestamp


@dataclasses.dataclass(frozen=True)
class Settings:
    """What pygun.py says about the log, and where this process stands."""

    app: str
    release: str = ""
    instance: str | None = None
    log_dir: str | None = None
    run_dir: Path | None = None
    format: str = "json"
    to: tuple[str, ...] = ("file",)
    unlogged: frozenset[str] = frozenset()
    redaction: Redaction = dataclasses.field(default_factory=Redaction)

    @property
    def path(self) -> str | None:
        """The instance's log; None if there is no instance, or no place for its log."""
        return os.path.join(self.log_dir, f"{self.instance}.log") if self.log_dir and self.instance else None

    @property
    def service(self) -> dict[str, str]:
        fields = {
            "service.name": self.app,
            "service.version": self.release,
            "service.node.name": self.instance,
        }
        return {name: value for name, value in fields.items() if value}


class Log:
    """Where all lines of a process meet."""

    def __init__(self, settings: Settings, before: Log | None = None):
        self.settings = settings
        self.json = JsonLines(settings.service, settings.redaction)
        self.lines: Lines = TextLines(settings.service, settings.redaction) if settings.format == "text" else self.json
        self.forwarders: list[Forwarder] = []
        if "journald" in settings.to:
            self.forwarders.append(Journald(settings.app))
        if "syslog" in settings.to:
            self.forwarders.append(Syslog(settings.app))
        self.destination: LogFile | Stream | None = None
        if "file" in settings.to or not self.forwarders:
            self.destination = _file_of(before, settings.path) or Stream(1)
            if isinstance(self.destination, LogFile):
                self.destination.events = _FullVolume(self, self.destination)

    def was_forked(self) -> None:
        self.json.renew()
        self.lines.renew()

    def event(self, now, level, message, logger, error=None, labels=None, destination=None) -> None:
        fields = (now, level, message, logger, request_id.current.get(), error, labels)
        line = self.lines.event(*fields)
        self._put(line, now, destination)
        if self.forwarders:
            self._forward(level, line, self.json.event(*fields), now)

    def access_writer(self, destination=None):
        """The function that writes access lines; made once, for what it looks up would cost each request."""
        destination = destination or self.destination
        line_of, identifier, clock = self.lines.access, request_id.current.get, time.time

        def write(environ, status, size, duration, message=None) -> None:
            now = clock()
            destination.write(line_of(now, environ, status, size, duration, identifier() or "", message).encode(), now)

        def write_and_forward(environ, status, size, duration, message=None) -> None:
            now = clock()
            fields = (now, environ, status, size, duration, identifier() or "", message)
            line = line_of(*fields)
            if destination is not None:
                destination.write(line.encode(), now)
            self._forward("info" if status < 500 else "error", line, self.json.access(*fields), now)

        return write_and_forward if self.forwarders else write

    def say(self, level, logger, message, exception, stack="", labels=None) -> None:
        """For log_capture."""
        error = describe(exception) if exception else ("", "", stack) if stack else None
        self.event(time.time(), level, message, logger, error, labels)

    def say_record(self, handled: app_lines.Handled) -> None:
        """What a handler of the app has written: once, if other handlers write the record too."""
        record = handled.record
        if app_lines.is_written(record):
            return
        written = app_lines.understood(handled.text)
        if handled.stock and not written.labels:
            self.record(record)
            return
        level = app_lines.level_name(record.levelno)
        error = ("", "", written.stack) if written.stack else None
        self.event(record.created, level, written.message, record.name, error, written.labels)

    def record(self, record: logging.LogRecord, destination=None) -> None:
        """The line of a LogRecord."""
        try:
            message = record.getMessage()
        except Exception as error:
            message = f"{record.msg!r} with arguments that do not fit it ({error}): {record.args!r}"
        if record.name == "gunicorn.error":
            message = self.json.redaction.text(message)
        error = describe(record.exc_info) if record.exc_info and record.exc_info[0] else None
        if record.stack_info:
            error = (error or ("", "", ""))[:2] + ("\n".join(filter(None, [error and error[2], record.stack_info])),)
        level, labels = app_lines.level_name(record.levelno), app_lines.labels_of(record)
        self.event(record.created, level, message, record.name, error, labels, destination)

    def _put(self, line: str, now: float, destination) -> None:
        destination = destination or self.destination
        if destination is not None:
            destination.write(line.encode("utf-8", "replace"), now)

    def _forward(self, level: str, line: str, in_json: str, now: float) -> None:
        fields = json.loads(in_json)
        for forwarder in self.forwarders:
            lost = forwarder.lost
            if forwarder.send(level, fields, line) and lost:
                forwarder.lost = 0
                text = f"{lost} lines did not reach {forwarder.name}, which was down or too slow"
                report = (now, "warning", text, "pygun")
                forwarder.send("warning", {"message": text}, self.lines.event(*report))
                self._put(self.lines.event(*report), now, None)


def _file_of(before: Log | None, path: str | None) -> LogFile | None:
    """The file at *path*; the one that is open already, at a HUP."""
    old = before.destination if before else None
    if isinstance(old, LogFile) and old.path == path:
        return old
    return LogFile(path) if path else None


def describe(exception) -> tuple[str, str, str]:
    """Type, message and stack trace of what sys.exc_info() returned."""
    kind, value, trace = exception
    module = getattr(kind, "__module__", "")
    name = kind.__qualname__ if module in ("builtins", "") else f"{module}.{kind.__qualname__}"
    try:
        message = str(value)
    except Exception as error:
        message = f"<no text: {type(error).__name__}>"
    try:
        stack = "".join(traceback.format_exception(kind, value, trace)).rstrip("\n")
    except Exception as error:
        stack = f"<no traceback: {type(error).__name__}>"
    return name, message, stack


class _FullVolume(VolumeEvents):
    """Says once per instance that lines are dropped: the marker in the run directory is made by one process."""

    def __init__(self, log: Log, file: LogFile):
        self._log = log
        self._file = file
        settings = log.settings
        self._marker = settings.run_dir / f"{settings.instance}.log-full" if settings.run_dir else None
        atexit.register(self._at_end)

    def _at_end(self) -> None:
        if self._file.lost and self._file.events is self:
            text = f"{self._file.lost} lines of process {os.getpid()} were lost: it ended before {self._file.path} had room."
            tell_the_host(self._log.settings.app, "error", text)

    def full(self, path: str, why: str) -> None:
        if self._marker:
            try:
                os.close(os.open(self._marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644))
            except FileExistsError:
                return
            except OSError:
                pass  # better said twice than not at all
        text = f"The log {path} cannot be written: {why}. Requests are served, their lines are dropped and counted."
        tell_the_host(self._log.settings.app, "error", text)

    def report(self, path: str, lost: int, since: float, now: float) -> bytes:
        text = f"{lost} lines of this process were lost between {timestamp(since)} and {timestamp(now)}: the volume of {path} was full"
        return self._log.lines.event(now, "error", text, "pygun", None, None, {"lost": lost}).encode()

    def room(self) -> None:
        if self._marker:
            with contextlib.suppress(OSError):
                self._marker.unlink()


_settings: Settings | None = None
_log: Log | None = None


def configure(settings: Settings) -> None:
    """Called by pygun.py, at the start and at each HUP; the next `Logger.setup` takes it over."""
    global _settings  # noqa: PLW0603
    _settings = settings


def instance_log() -> Log:
    """The log of this process, as configured last."""
    global _log, _settings  # noqa: PLW0603
    if _log is None or _log.settings is not _settings:
        _settings = _settings or Settings(app="app")
        _log = Log(_settings, _log)
    return _log


def _after_fork() -> None:
    if _log is not None:
        _log.was_forked()


os.register_at_fork(after_in_child=_after_fork)


class Handler(logging.Handler):
    """Turns records into lines of the instance's log."""

    _gunicorn = True  # gunicorn's mark on handlers that are its own to replace

    def __init__(self, log: Log, destination=None):
        super().__init__()
        self.log = log
        self.destination = destination

    def handle(self, record):
        """Without a lock: a line is one write, and a signal handler may have interrupted another."""
        if self.filter(record):
            self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        if not app_lines.is_written(record, self.destination):
            self.log.record(record, self.destination)
