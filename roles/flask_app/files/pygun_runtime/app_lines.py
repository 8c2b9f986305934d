# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lines of an app that configures logging itself: they keep their level and their fields.

What a handler of the app writes to stdout or stderr is known by its record. Lines without one (structlog, print) are understood as far
as they are JSON, or begin with a level.
"""

from __future__ import annotations

import contextvars
import json
import logging
import re
import typing as t

#: A longer line is text, whatever it consists of (characters).
LONGEST_JSON = 64 * 1024

_NAMES = {
    "level": ("log.level", "level", "levelname", "severity", "loglevel", "lvl"),
    "message": ("message", "msg", "event"),
    "logger": ("log.logger", "logger", "logger_name", "name"),
    "stack": ("error.stack_trace", "exception", "exc_info", "traceback"),
}
#: Loggers of the server: what an app prints is none of their lines, whatever it says.
_OURS = {"access", "gunicorn.access", "gunicorn.error"}
#: What a LogRecord always has; whatever else it has came from the app's `extra`.
_STANDARD = {*logging.LogRecord("", 0, "", 0, "", (), None).__dict__, "message", "asctime", "taskName", "pygun_written"}
#: What Celery adds to each record: "???" outside of a task.
_TASK = ("task_id", "task_name")
#: Modules of formatters that say no more than the record and a line of ours do.
_PLAIN_FORMATTERS = {"celery.utils.log", "celery.app.log"}
_TIMES = {"@timestamp", "timestamp", "time", "asctime", "ts", "ecs.version"}

_LEVELS = {
    **dict.fromkeys(("trace", "debug", "notset"), "debug"),
    **dict.fromkeys(("info", "success", "notice", "informational"), "info"),
    **dict.fromkeys(("warning", "warn"), "warning"),
    **dict.fromkeys(("error", "err", "exception"), "error"),
    **dict.fromkeys(("critical", "fatal", "emergency", "alert", "panic"), "critical"),
}
_WORD = r"(TRACE|DEBUG|INFO|SUCCESS|NOTICE|WARNING|WARN|ERROR|CRITICAL|FATAL)"
_TIME = r"[\[(]?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,\d]*(?:Z| ?[+-]\d\d:?\d\d)?[\])]?"
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_BEGINNINGS = [
    re.compile(rf"{_WORD}:"),
    re.compile(rf"[\[<(]{_WORD}\s*[\])>]", re.IGNORECASE),
    re.compile(rf"{_TIME}\s*(?:[|:-]\s*)?[\[<(]?{_WORD}\b", re.IGNORECASE),
]


class Event(t.NamedTuple):
    """The fields of a line; a field that was not found is empty."""

    level: str = ""
    logger: str = ""
    message: str = ""
    stack: str = ""
    labels: t.Mapping[str, t.Any] = {}  # noqa: RUF012


def level_name(number: int) -> str:
    """An app may have levels of its own, and names of its own for those of Python."""
    for level, name in ((50, "critical"), (40, "error"), (30, "warning"), (20, "info")):
        if number >= level:
            return name
    return "debug"


def understood(text: str) -> Event:
    """Read level and fields from *text*, which the app has printed."""
    return _of_json(text) or Event(level=_level_at_beginning(text), message=text)


def _of_json(text: str) -> Event | None:
    if not (text.startswith("{") and text.endswith("}")) or len(text) > LONGEST_JSON:
        return None
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    nested = fields.pop("log", None) if isinstance(fields.get("log"), dict) else None
    fields.update({f"log.{name}": value for name, value in (nested or {}).items()})
    found = {what: _take(fields, names) for what, names in _NAMES.items()}
    level = _level(found["level"])
    if not level and not found["message"]:
        return None  # data
    labels = {name: _plain(value) for name, value in fields.items() if name not in _TIMES}
    logger, stack = (found[what] if isinstance(found[what], str) else "" for what in ("logger", "stack"))
    logger = "" if logger in _OURS else logger
    message = found["message"] if isinstance(found["message"], str) else json.dumps(found["message"])
    return Event(level, logger, message or text, stack, labels)


def _take(fields: dict, names: tuple[str, ...]):
    """The first of *names* that *fields* has; it is no label then."""
    for name in names:
        if fields.get(name):
            return fields.pop(name)
    return ""


def _plain(value):
    return json.dumps(value) if isinstance(value, (dict, list)) else value


def _level(value) -> str:
    if isinstance(value, str):
        return _LEVELS.get(value.lower(), "")
    return level_name(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else ""


def _level_at_beginning(text: str) -> str:
    beginning = _COLOUR.sub("", text[:200])
    for pattern in _BEGINNINGS:
        match = pattern.match(beginning)
        if match:
            return _LEVELS[match.group(1).lower()]
    return ""


def of_loguru(text: str) -> tuple[Event, t.Any] | None:
    """The fields that loguru has for a line, and the exception."""
    record = getattr(text, "record", None)
    try:
        level, name, message = level_name(record["level"].no), record["name"], record["message"]
        return Event(level, str(name or ""), str(message), labels=dict(record["extra"])), record["exception"]
    except (TypeError, KeyError, AttributeError):
        return None


def labels_of(record: logging.LogRecord) -> dict[str, t.Any]:
    """What the app has added to a record. Of Celery's own records that is the task, and not the arguments of the task."""
    labels = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
    if record.name.partition(".")[0] == "celery":
        labels.pop("data", None)
    return {name: value for name, value in labels.items() if not (name in _TASK and value == "???")}


# -- handlers of the app -----------------------------------------------------------------------------------------------


class Handled:
    """A record that a handler is about to write, and what it has written to a stream of ours."""

    def __init__(self, record: logging.LogRecord, handler: logging.Handler):
        self.record = record
        self.parts: list[str] = []
        # The message alone is as good as its text, unless a formatter of the app has something to say about it.
        formatter = type(handler.formatter)
        self.stock = formatter in (type(None), logging.Formatter) or formatter.__module__ in _PLAIN_FORMATTERS

    @property
    def text(self) -> str:
        return "".join(self.parts).rstrip("\r\n")


handled: contextvars.ContextVar[Handled | None] = contextvars.ContextVar("pygun_handled", default=None)


def watch_handlers(say_record: t.Callable[[Handled], None]) -> None:
    """Have *say_record* called with each record that a handler writes to a stream of ours; may be repeated."""
    global _say_record  # noqa: PLW0603
    _say_record = say_record
    if hasattr(logging.Handler, "pygun_handle"):
        return
    logging.Handler.pygun_handle = handle = logging.Handler.handle
    handle_error = logging.Handler.handleError

    def handle_and_say(self, record):
        one = Handled(record, self)
        token = handled.set(one)
        try:
            return handle(self, record)
        finally:
            handled.reset(token)
            if one.parts:
                _say_record(one)

    def handle_error_aloud(self, record):
        token = handled.set(None)
        try:
            handle_error(self, record)
        finally:
            handled.reset(token)

    logging.Handler.handle = handle_and_say
    logging.Handler.handleError = handle_error_aloud


_say_record: t.Callable[[Handled], None] = lambda _one: None  # noqa: E731


def is_written(record: logging.LogRecord, destination: object = None) -> bool:
    """Whether *destination* (None is the instance's log) has the record; the first one to ask has to write it."""
    written = record.__dict__.setdefault("pygun_written", set())
    if id(destination) in written:
        return True
    written.add(id(destination))
    return False
