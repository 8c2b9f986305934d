# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whatever an app is made to log, and whatever stands in a request: one valid line for each event."""

from __future__ import annotations

import base64
import datetime
import json
import time

import pytest


@pytest.fixture(scope="module")
def lines(host):
    """Of the log by id, and what was sent. Every byte of every line has been looked at."""
    sent = host.read("hostile", "5001")
    found = {"sent": sent, "": []}
    for fields in host.read("lines", "talker"):
        found.setdefault(fields.get("http.request.id", ""), []).append(fields)
    return found


def said(lines, request_id: str) -> list[dict]:
    """What the app said during a request."""
    return [fields for fields in lines[request_id] if fields["log.logger"] != "access"]


def test_every_request_has_one_access_line_with_its_status(lines):
    for name, (request_id, status) in lines["sent"]["statuses"].items():
        access = [fields for fields in lines[request_id] if fields["log.logger"] == "access"]
        assert [str(fields["http.response.status_code"]) for fields in access] == [status], name


def test_every_text_that_is_logged_is_in_one_line_as_it_was(lines):
    for request_id, (way, encoded) in lines["sent"]["messages"].items():
        if way == "print":
            continue
        text = base64.b64decode(encoded).decode()
        where = (request_id, way, text[:50])
        assert len(said(lines, request_id)) == 1, where
        [fields] = said(lines, request_id)
        if way == "raise":
            assert fields["error.type"] == "RuntimeError", where
            assert fields["error.message"] == text, where
            assert fields["error.stack_trace"].startswith("Traceback (most recent call last):"), where
        elif way == "warn":
            assert text in fields["message"], where
            assert fields["log.level"] == "warning", where
        else:
            assert fields["message"] == text, where
            assert fields["log.logger"] == ("a.library" if way.startswith("library") else "wsgi"), where


def test_each_line_that_is_printed_is_an_event(lines):
    for request_id, (way, encoded) in lines["sent"]["messages"].items():
        if way == "print":
            text = base64.b64decode(encoded).decode()
            printed = [line.strip() for line in text.split("\n") if line.strip()]
            assert [fields["message"].strip() for fields in said(lines, request_id)] == [
                meant(line) for line in printed
            ]
            assert not [fields for fields in lines[request_id] if fields["@timestamp"].startswith("2000")]


def meant(line: str) -> str:
    """The message of a line that an app prints: of JSON, its own."""
    return json.loads(line)["message"] if line.startswith("{") else line


def test_a_path_is_logged_as_it_was_sent(lines):
    for request_id, path in lines["sent"]["paths"].items():
        assert [fields["url.path"] for fields in lines[request_id]] == [path]


def test_a_request_that_gunicorn_refuses_has_a_line_too(lines):
    begun = datetime.datetime.fromtimestamp(lines["sent"]["begun"], datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    refused = [
        fields
        for of_request in (value for name, value in lines.items() if name != "sent")
        for fields in of_request
        if fields.get("http.response.status_code") == 400 and fields["@timestamp"] >= begun
    ]
    assert len(refused) == lines["sent"]["refused"]


def test_headers_of_any_bytes_are_logged_as_text(lines):
    [fields] = lines[lines["sent"]["statuses"]["headers"][0]]
    assert fields["user_agent.original"] == '\\xff"}\\ü'
    assert fields["http.request.referrer"] == 'http://x/\\xff?a="b'


def test_what_native_code_prints_stands_in_the_raw_log(host):
    host.ask_talker("POST", "/raw", "past Python")
    deadline = time.monotonic() + 30
    while "past Python\n" not in host.run("sh", "-c", "cat /var/log/talker/*.raw.log"):
        assert time.monotonic() < deadline, "supervisord does not write it"
        time.sleep(0.2)
    assert [line for line in host.shown(flask_app_name="talker", text="past Python") if " raw past Python" in line]
