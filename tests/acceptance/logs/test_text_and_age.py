# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Another configuration of the same app: text, forwarding, and rotation by age. The last of the tests: it stays so."""

from __future__ import annotations

import re
import time

import pytest


@pytest.fixture(scope="module")
def talker(host):
    """The app with that configuration; how the ids of its two requests begin."""
    run = f"text-{time.time_ns():x}"
    host.deploy_talker(
        log_format="text", log_to=["file", "journald", "syslog"], log_rotate="daily", log_max_age=3
    )  # fmt: skip
    host.ask_talker("POST", "/log/warning", "one\n\x1b[31mtwo", request_id=f"{run}-1")
    host.ask_talker("POST", "/raise", "it broke", request_id=f"{run}-2")
    return run


def test_the_text_format_has_one_readable_line_for_each_event(host, talker):
    log = host.run("sh", "-c", "cat /var/log/talker/talker-?.log").splitlines()
    lines = [line.replace(f" {talker}-1 ", " ID ") for line in log if f" {talker}-1 " in line]
    start = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z "
    assert len(lines) == 2
    assert re.fullmatch(start + r"WARNING  talker-\d\[\d+\] wsgi ID one\\n\\u001b\[31mtwo", lines[0])
    assert re.fullmatch(
        start + r"INFO     talker-\d\[\d+\] access ID 127.0.0.1 POST /log/warning 200 \d+B [\d.]+ms .*", lines[1]
    )


def test_logs_yml_reads_the_text_format_with_the_same_filters(host, talker):
    lines = host.shown(flask_app_name="talker", request_id=f"{talker}-2", level="error", since="10m")
    assert " ERROR wsgi " in lines[0]
    assert "    RuntimeError: it broke" in lines
    assert lines[-1].endswith(f"id={talker}-2")


@pytest.mark.parametrize("transport", ["journal", "syslog"])
def test_lines_are_forwarded(host, talker, transport):
    """The container's syslog is journald's."""
    entries = [
        entry
        for entry in host.journal("SYSLOG_IDENTIFIER=talker", f"_TRANSPORT={transport}")
        if entry.get("HTTP_REQUEST_ID") == f"{talker}-1" or f" {talker}-1 " in entry["MESSAGE"]
    ]
    assert [entry["PRIORITY"] for entry in entries] == ["4", "6"]
    assert entries[0]["MESSAGE"].endswith("one\n\x1b[31mtwo" if transport == "journal" else "one\\n\\u001b[31mtwo")
    assert transport == "syslog" or entries[1]["HTTP_RESPONSE_STATUS_CODE"] == "200"


def rotate(host, days: int = 0) -> dict[str, float]:
    """A day later (and the rotated files *days* older); the files of one instance, and their ages in days."""
    found = host.read("rotate", "talker", str(days))["files"]
    return {name.removeprefix("talker-0.log"): age for name, age in found.items() if name.startswith("talker-0.log")}


def test_logs_are_rotated_by_age_compressed_and_removed(host, talker):
    rotate(host)
    assert set(rotate(host)) == {"", ".1", ".2.gz"}
    assert set(rotate(host)) == {"", ".1", ".2.gz"}, "no more than two are kept"
    assert host.run("stat", "--format=%U:%G %a", "/var/log/talker/talker-0.log").strip() == "talker:talker 640"
    left = rotate(host, days=5)
    assert set(left) == {"", ".1"}, "what is too old is removed"
    assert max(left.values()) < 1
