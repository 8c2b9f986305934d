# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Log lines of several hosts as people and programs read them."""

from __future__ import annotations

import json

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.pygun.stack.plugins.filter.merge_logs import FilterModule

merge_logs = FilterModule().filters()["merge_logs"]
BEGIN = 1_700_000_000.0  # 2023-11-14 22:13:20


def entry(seconds, message, instance="scoring-0", exact=True, **fields):
    fields = {"message": message, "log.level": "info", "log.logger": "scoring", **fields}
    return {"time": BEGIN + seconds, "exact": exact, "app": "scoring", "instance": instance, "fields": fields}


ACCESS = {
    "log.logger": "access",
    "http.request.id": "abc-1",
    "http.request.method": "GET",
    "url.path": "/predict",
    "url.query": "a=1",
    "http.response.status_code": 200,
    "event.duration": 12_345_678,
}


def test_the_lines_of_all_hosts_stand_in_the_order_of_time_in_columns():
    found = {
        "api1": [entry(0, "first"), entry(2.5, "third", instance="scoring-10")],
        "api-two": [entry(1, "second", **{"log.level": "warning"}), entry(3, "", **ACCESS)],
    }
    assert merge_logs(found).split("\n") == [
        " 2023-11-14 22:13:20.000Z api1    scoring-0  INFO  scoring first",
        " 2023-11-14 22:13:21.000Z api-two scoring-0  WARN  scoring second",
        " 2023-11-14 22:13:22.500Z api1    scoring-10 INFO  scoring third",
        " 2023-11-14 22:13:23.000Z api-two scoring-0  INFO  access GET /predict?a=1 200 12.3 ms  id=abc-1",
    ]


def test_there_are_no_more_lines_than_asked_for_over_all_hosts():
    found = {"one": [entry(0, "a"), entry(2, "c")], "two": [entry(1, "b"), entry(3, "d")]}
    assert [line.split()[-1] for line in merge_logs(found, lines=3).split("\n")] == ["b", "c", "d"]


def test_lines_of_the_same_time_keep_the_order_of_their_file():
    found = {"one": [entry(0, "z"), entry(0, "a"), entry(0, "m")]}
    assert [line.split()[-1] for line in merge_logs(found).split("\n")] == ["z", "a", "m"]


def test_a_stack_trace_is_indented_below_its_line():
    trace = 'Traceback (most recent call last):\n  File "x.py", line 1, in f\nValueError: no'
    lines = merge_logs({"one": [entry(0, "It failed", **{"error.stack_trace": trace + "\n"})]}).split("\n")
    assert lines[0].endswith("scoring It failed")
    assert lines[1:] == [f"    {line}" for line in trace.split("\n")]


def test_a_stack_trace_of_the_text_format_is_unfolded():
    message = 'It failed\\nTraceback (most recent call last):\\n  File "x.py", line 1, in f\\nValueError: \\u001b[31m'
    lines = merge_logs({"one": [entry(0, message)]}).split("\n")
    assert lines[1:] == [
        "    Traceback (most recent call last):",
        '      File "x.py", line 1, in f',
        "    ValueError: \\x1b[31m",
    ]


def test_a_message_of_several_lines_is_indented():
    assert merge_logs({"one": [entry(0, "a\nb\r\nc")]}).split("\n")[1:] == ["    b\\r", "    c"]


def test_nothing_reaches_the_terminal_that_it_would_act_on():
    hostile = "\x1b[2J\x1b]0;title\x07 \x9b31m \u202egnp.exe \x00 \x7f"
    found = {"one": [entry(0, hostile, **{"log.logger": "\x1b[1m", "http.request.id": "\x1b[7m"})]}
    text = merge_logs(found)
    assert text.isprintable()
    assert "\\x1b[2J" in text
    assert "\\u202e" in text


def test_a_line_that_does_not_tell_its_time_is_marked_and_may_have_no_level():
    fields = {"log.level": None, "log.logger": "raw"}
    assert merge_logs({"one": [entry(0, "Segmentation fault", exact=False, **fields)]}) == (
        "~2023-11-14 22:13:20.000Z one scoring-0 -     raw Segmentation fault"
    )


def test_for_programs_each_line_is_an_object_with_the_host():
    found = {"one": [entry(0, "a\n\x1bü", **ACCESS)], "two": [{**entry(1, "raw"), "exact": False}]}
    lines = merge_logs(found, format="json").split("\n")
    first, second = map(json.loads, lines)
    assert all(line.startswith('{"@timestamp"') and line.isascii() for line in lines)
    assert first == {
        "@timestamp": "2023-11-14T22:13:20.000Z",
        "log.level": "info",
        "message": "a\n\x1bü",
        "host.name": "one",
        "service.name": "scoring",
        "service.node.name": "scoring-0",
        **ACCESS,
    }
    assert (second["host.name"], second["@timestamp"]) == ("two", "2023-11-14T22:13:21.000Z")


def test_an_unknown_format_is_an_error_that_names_those_there_are():
    with pytest.raises(AnsibleFilterError, match="format is 'xml', and must be one of text, json"):
        merge_logs({}, format="xml")


def test_nothing_found_is_an_empty_text():
    assert merge_logs({"one": []}) == merge_logs({}, format="json") == ""
