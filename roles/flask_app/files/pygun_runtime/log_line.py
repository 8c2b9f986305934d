# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One event, one line: as JSON with the field names of the Elastic Common Schema, or as readable text.

Whatever an event contains, its line is one line: valid UTF-8, without control characters.

The JSON is put together by hand: the fixed parts are made once, and a request costs one string. An escaper written
in C does the rest.
"""

from __future__ import annotations

import os
import re
import time
from json import dumps
from json.encoder import encode_basestring
from urllib.parse import quote as percent
from urllib.parse import quote_plus, unquote_plus, urlsplit

ECS_VERSION = "8.11.0"
MASK = "[redacted]"
UNREADABLE = "(not a readable request)"

#: A shorter value would be found, and masked, in places where it means something else.
SHORTEST_SECRET = 6

MOST_REMEMBERED = 512
LONGEST_REMEMBERED = 1000

_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # valid JSON, but not for every reader or terminal


def quote(text: str) -> str:
    """A JSON string."""
    quoted = encode_basestring(text)
    return quoted if quoted.isascii() else _UNSAFE.sub(_escape, quoted)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as Python keeps it
        return f"\\\\x{code - 0xDC00:02x}"
    return f"\\\\u{code:04x}" if 0xD800 <= code <= 0xDFFF else f"\\u{code:04x}"


def from_wire(text: str) -> str:
    """Decode a value of a client, which a WSGI server passes on with each byte as a character."""
    return text if text.isascii() else text.encode("latin-1", "replace").decode("utf-8", "backslashreplace")


def one_line(text: str) -> str:
    """The text with its line breaks and control characters made visible."""
    return text if text.isprintable() else quote(text)[1:-1].replace('\\"', '"')


_second = (-1, "")
_MILLISECONDS = [f".{number:03d}Z" for number in range(1000)]


def timestamp(now: float) -> str:
    """UTC, ISO 8601, with milliseconds."""
    global _second  # noqa: PLW0603
    whole = int(now)
    second, text = _second
    if second != whole:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        _second = (whole, text)
    return text + _MILLISECONDS[int((now - whole) * 1000)]


class Redaction:
    """Values that must not appear in a log.

    query: whether query strings may
    names: parameters of query strings whose values are masked, whatever their case
    secrets: texts that are masked wherever they occur
    """

    def __init__(self, query: bool = True, names=(), secrets=()):
        self._query = query
        self._names = {name.lower() for name in names}
        forms = {form for text in secrets for form in (text, percent(text), percent(text, ""), quote_plus(text))}
        self._secrets = sorted((form for form in forms if len(form) >= SHORTEST_SECRET), key=len, reverse=True)

    @property
    def masks(self) -> bool:
        return bool(self._secrets)

    def mask(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, MASK)
        return text

    def query(self, query: str) -> str:
        if not self._query:
            return ""
        if not self._names:
            return query
        return re.sub(r"[^&;]+", self._parameter, query)

    def _parameter(self, match: re.Match[str]) -> str:
        name, equals, _value = match.group().partition("=")
        return f"{name}={MASK}" if equals and unquote_plus(name).lower() in self._names else match.group()

    def url(self, url: str) -> str:
        """A whole URL: a referrer can be a page of the same app."""
        return self._queries_in(r"(?s)\?(.*)", url)

    def text(self, text: str) -> str:
        """A text in which there may be URLs: gunicorn names a request that it could not serve."""
        return self._queries_in(r"\?([^\s?'\"]+)", text)

    def _queries_in(self, pattern: str, text: str) -> str:
        if not (self._names or not self._query) or "?" not in text:
            return text
        return re.sub(pattern, self._of_match, text)

    def _of_match(self, match: re.Match[str]) -> str:
        query = self.query(match.group(1))
        return f"?{query}" if query else ""


class Lines:
    """The lines of one process. *service* has the fields that are in each of them."""

    def __init__(self, service: dict[str, str], redaction: Redaction):
        self.service = service
        self.redaction = redaction
        self._quote = self._quote_masked if redaction.masks else quote
        self.renew()

    def _quote_masked(self, text: str) -> str:
        return quote(self.redaction.mask(text))

    def renew(self) -> None:
        """Begin again in a process that was forked."""


class JsonLines(Lines):
    """One JSON object per line."""

    def renew(self) -> None:
        fields = {"ecs.version": ECS_VERSION, **self.service}
        self._service = ",".join(f"{quote(name)}:{quote(value)}" for name, value in fields.items())
        self._service += f',"process.pid":{os.getpid()}'
        self._access = self._service + ',"log.logger":"access","http.request.id":"'
        self._targets: dict[tuple, tuple[str, str]] = {}
        self._callers: dict[tuple, str] = {}

    def event(self, now, level, message, logger, request_id=None, error=None, labels=None) -> str:
        """*error* is (type, message, stack trace), each may be empty; *labels* are fields of the app's own."""
        quoted = self._quote
        parts = [
            f'{{"@timestamp":"{timestamp(now)}","log.level":"{level}","message":{quoted(message)},{self._service}'
            f',"log.logger":{quote(logger)}'
        ]
        if request_id:
            parts.append(f'"http.request.id":{quote(request_id)}')
        if error:
            names = ("error.type", "error.message", "error.stack_trace")
            parts.extend(f'"{name}":{quoted(text)}' for name, text in zip(names, error, strict=True) if text)
        for name, value in (labels or {}).items():
            parts.append(f"{quote('labels.' + str(name))}:{self._value(value)}")
        return ",".join(parts) + "}\n"

    def _value(self, value) -> str:
        if value is None or type(value) in (bool, int):
            return dumps(value)
        if isinstance(value, float):
            return dumps(value) if abs(value) < float("inf") else quote(str(value))
        return self._quote(_text(value))

    def access(self, now, environ, status, size, duration, request_id, message=None) -> str:
        """*size* in bytes (None: not known), *duration* in microseconds."""
        target = environ["RAW_URI"]
        try:
            shown, fields = self._targets[environ["REQUEST_METHOD"], target]
        except KeyError:
            shown, fields = self._of_target(environ["REQUEST_METHOD"], target)
        caller = environ.get("HTTP_USER_AGENT"), environ.get("HTTP_REFERER"), environ.get("REMOTE_ADDR", "")
        try:
            caller = self._callers[caller]
        except KeyError:
            caller = self._of_caller(*caller)
        message = f"{shown} {status}" if message is None else self._quote(message)[1:-1]
        size = f',"http.response.body.bytes":{size}' if size is not None else ""
        return (
            f'{{"@timestamp":"{timestamp(now)}","log.level":"{"info" if status < 500 else "error"}","message":"{message}"'
            f',{self._access}{request_id}"{fields}{caller}{size}'
            f',"http.response.status_code":{status},"event.duration":{duration}000}}\n'
        )

    def _of_target(self, method: str, target: str) -> tuple[str, str]:
        """The request line, as a part of the message and as fields."""
        quoted = self._quote
        path, _mark, query = from_wire(target).partition("?")
        name = quote(method)[1:-1]
        path = quoted(path if path[:1] == "/" else _path_of(path))
        shown, fields = UNREADABLE, ""
        if target:
            shown = f"{name} {path[1:-1]}"
            fields = f',"http.request.method":"{name}","url.path":{path}'
        query = self.redaction.query(query)
        if query:
            fields += f',"url.query":{quoted(query)}'
        return _remember(self._targets, (method, target), (shown, fields))

    def _of_caller(self, agent: str | None, referrer: str | None, address: str) -> str:
        """The fields of a request about its origin."""
        quoted = self._quote
        fields = f',"client.address":{quote(address)}'
        if agent:
            fields += f',"user_agent.original":{quoted(from_wire(agent))}'
        if referrer:
            fields += f',"http.request.referrer":{quoted(self.redaction.url(from_wire(referrer)))}'
        return _remember(self._callers, (agent, referrer, address), fields)


def _remember(known: dict, key, value):
    """Callers and targets come again, most of them soon. Neither a flood of them nor a huge one may fill the memory."""
    if len(value if isinstance(value, str) else value[1]) <= LONGEST_REMEMBERED:
        if len(known) >= MOST_REMEMBERED:
            known.clear()
        known[key] = value
    return value


def _text(value) -> str:
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__} without a text: {type(error).__name__}>"


def _path_of(target: str) -> str:
    """The path of a request target that is not just a path: http://host/path, host:port or *."""
    try:
        return urlsplit(target).path or target
    except ValueError:
        return target


class TextLines(Lines):
    """One line for people."""

    def renew(self) -> None:
        name = self.service.get("service.node.name") or self.service["service.name"]
        self._origin = f"{name}[{os.getpid()}]"

    def _start(self, now, level, logger, request_id) -> str:
        return f"{timestamp(now)} {level.upper():<8} {self._origin} {one_line(logger)} {request_id or '-'}"

    def event(self, now, level, message, logger, request_id=None, error=None, labels=None) -> str:
        text = message
        if error:
            text = "\n".join(part for part in (text, error[2] or ": ".join(filter(None, error[:2]))) if part)
        for name, value in (labels or {}).items():
            text += f" {name}={_text(value)}"
        return f"{self._start(now, level, logger, request_id)} {one_line(self.redaction.mask(text))}\n"

    def access(self, now, environ, status, size, duration, request_id, message=None) -> str:
        if message is None:
            path, _mark, query = environ["RAW_URI"].partition("?")
            query = self.redaction.query(from_wire(query))
            target = from_wire(path) + (f"?{query}" if query else "")
            agent = from_wire(environ.get("HTTP_USER_AGENT") or "-")
            referrer = self.redaction.url(from_wire(environ.get("HTTP_REFERER") or "-"))
            request = f"{environ['REQUEST_METHOD']} {target}" if target else UNREADABLE
            message = (
                f"{environ.get('REMOTE_ADDR') or '-'} {request} {status}"
                f' {"-" if size is None else size}B {duration / 1000:.1f}ms "{agent}" "{referrer}"'
            )
        level = "info" if status < 500 else "error"
        return f"{self._start(now, level, 'access', request_id)} {one_line(self.redaction.mask(message))}\n"
