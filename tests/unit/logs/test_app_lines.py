"""What an app prints is understood as far as it says what it is."""

import importlib.util
import sys
import types
from pathlib import Path

import pytest

FILE = Path(__file__).parents[3] / "roles" / "flask_app" / "files" / "pygun_runtime" / "app_lines.py"
SPEC = importlib.util.spec_from_file_location("app_lines", FILE)
app_lines = importlib.util.module_from_spec(SPEC)
sys.modules["app_lines"] = app_lines
SPEC.loader.exec_module(app_lines)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("INFO:root:hello", "info"),
        ("[ERROR] hello", "error"),
        ("[2026-03-01 09:00:00,123] WARNING in views: hello", "warning"),
        ("2026-03-01T09:00:00Z [debug    ] hello  [wsgi]", "debug"),
        ("\x1b[2m2026-03-01 09:00:00\x1b[0m [\x1b[31m\x1b[1merror    \x1b[0m] hello", "error"),
        ("2026-03-01 09:00:00.123 | CRITICAL | wsgi:say:3 - hello", "critical"),
        ("ERRORS were found", ""),
        ("error: hello", ""),
        ("Info", ""),
        ("there is an [ERROR] in it", ""),
    ],
)
def test_a_text_has_the_level_that_it_begins_with_and_stays_as_it_is(text, level):
    assert app_lines.understood(text)[:3] == (level, "", text)


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ('{"event": "hello", "level": "warning", "user": 5}', ("warning", "", "hello", "", {"user": 5})),
        ('{"severity": "ERROR", "message": "hello", "logger": "a", "timestamp": 1}', ("error", "a", "hello", "", {})),
        ('{"levelname": "FATAL", "msg": "x", "exc_info": "Trace"}', ("critical", "", "x", "Trace", {})),
        ('{"log.level": "debug", "log": {"logger": "b"}, "message": "x"}', ("debug", "b", "x", "", {})),
        ('{"level": 40, "message": {"a": [1]}}', ("error", "", '{"a": [1]}', "", {})),
        ('{"level": "info", "a": {"b": 1}}', ("info", "", '{"level": "info", "a": {"b": 1}}', "", {"a": '{"b": 1}'})),
        ('{"a": 1}', ("", "", '{"a": 1}', "", {})),
        ('{"message": "x", "level": true}', ("", "", "x", "", {})),
        ('{"message": }', ("", "", '{"message": }', "", {})),
        ("{" * 50_000 + "}", ("", "", "{" * 50_000 + "}", "", {})),
        ('{"message":' + "[" * 30_000 + "]" * 30_000 + "}", None),
    ],
)
def test_json_keeps_what_it_says(text, event):
    found = app_lines.understood(text)
    assert tuple(found) == (event or ("", "", text, "", {}))


@pytest.mark.parametrize("name", ["access", "gunicorn.error"])
def test_what_an_app_prints_is_no_line_of_the_server(name):
    text = f'{{"message": "GET / 200", "log.logger": "{name}", "log": {{"logger": "{name}"}}}}'
    event = app_lines.understood(text)
    assert (event.message, event.logger) == ("GET / 200", "")


def test_a_line_of_loguru_is_known_by_its_record():
    class Message(str):
        __slots__ = ("record",)

    text = Message("whatever it looks like")
    assert app_lines.of_loguru(text) is None
    text.record = {
        "level": types.SimpleNamespace(no=40, name="ERROR"),
        "name": "wsgi",
        "message": "hello",
        "extra": {"user": 5},
        "exception": None,
    }
    assert app_lines.of_loguru(text) == (("error", "wsgi", "hello", "", {"user": 5}), None)
