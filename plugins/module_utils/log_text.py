# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The log lines of several hosts as one text, for people or for programs."""

from __future__ import annotations

import datetime
import json
import typing as t

_SHORT = {"warning": "WARN", "critical": "CRIT"}
_INDENT = "    "


def merged(found: dict[str, list[dict[str, t.Any]]], lines: int = 0) -> list[tuple[str, dict[str, t.Any]]]:
    """The entries of all hosts, each with its host, oldest first; the newest of them if there are more than ``lines``."""
    entries = [(host, entry) for host, those in found.items() for entry in those]
    entries.sort(key=lambda pair: pair[1]["time"])  # which leaves those of one host in their order
    return entries[-lines:] if lines else entries


def for_people(entries: list[tuple[str, dict[str, t.Any]]]) -> str:
    """A line for each entry, in columns; stack traces below."""
    hosts = max((len(host) for host, _entry in entries), default=0)
    instances = max((len(entry["instance"]) for _host, entry in entries), default=0)
    shown = []
    for host, entry in entries:
        fields = entry["fields"]
        level = _text(fields, "log.level")
        message, *more = _message(fields).split("\n")
        trace = _text(fields, "error.stack_trace")
        if trace:
            more += trace.rstrip("\n").split("\n")
        request_id = _text(fields, "http.request.id")
        columns = (
            f"{' ' if entry['exact'] else '~'}{_time(entry['time'])}",
            f"{host:<{hosts}}",
            f"{entry['instance']:<{instances}}",
            f"{_SHORT.get(level, level.upper()) or '-':<5}",
            _text(fields, "log.logger") or "-",
            message,
        )
        line = " ".join(columns) + (f"  id={request_id}" if request_id else "")
        shown.append(visible(line.rstrip()))
        shown += [_INDENT + visible(text) for text in more]
    return "\n".join(shown)


def for_programs(entries: list[tuple[str, dict[str, t.Any]]]) -> str:
    """A JSON object in each line, which begins with ``{"@timestamp"`` whatever the format of the log is."""
    shown = []
    for host, entry in entries:
        fields = {
            "@timestamp": f"{_iso(entry['time'])}Z",
            **entry["fields"],
            "host.name": host,
            "service.name": entry["app"],
            "service.node.name": entry["instance"],
        }
        shown.append(json.dumps(fields))
    return "\n".join(shown)


FORMATS = {"text": for_people, "json": for_programs}


def visible(text: str) -> str:
    """The text without what a terminal would act on."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter == "\t" else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def _message(fields: dict[str, t.Any]) -> str:
    status = fields.get("http.response.status_code")
    message = _text(fields, "message")
    if status is None:
        return _unfolded(message)
    path, query = _text(fields, "url.path"), _text(fields, "url.query")
    duration = fields.get("event.duration")
    took = f" {duration / 1_000_000:.1f} ms" if isinstance(duration, (int, float)) else ""
    request = f"{_text(fields, 'http.request.method') or '-'} {path or '-'}{'?' + query if query else ''}"
    return f"{request} {status}{took}"


def _unfolded(message: str) -> str:
    """The text format keeps a stack trace in one line; here it is as it was."""
    if "Traceback (most recent call last):\\n" not in message:
        return message
    try:
        return json.loads('"' + message.replace('"', '\\"') + '"').rstrip("\n")
    except ValueError:
        return message


def _text(fields: dict[str, t.Any], name: str) -> str:
    value = fields.get(name)
    return "" if value is None else str(value)


def _iso(moment: float) -> str:
    return datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]


def _time(moment: float) -> str:
    return f"{_iso(moment).replace('T', ' ')}Z"
