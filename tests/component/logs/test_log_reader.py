# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The last lines of logs, from real files: big, rotated, compressed, in every format, and rotated while they are read."""

from __future__ import annotations

import datetime
import gzip
import json
import os
import random
import shutil
import subprocess
import time

import pytest

from ansible_collections.pygun.stack.plugins.module_utils import log_reader
from ansible_collections.pygun.stack.plugins.module_utils.log_reader import Log, LogError, Query, find_logs, read

BEGIN = 1_700_000_000.0  # of the logs here
NOW = BEGIN + 100_000


def iso(moment):
    return datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def line(number, message=None, level="info", **fields):
    """The line with that number, each a second after the one before."""
    return json.dumps(
        {"@timestamp": iso(BEGIN + number), "log.level": level, "message": message or f"message {number}", **fields}
    )


def write(path, lines, compressed=False, written=None):
    data = "".join(f"{one}\n" for one in lines).encode("utf-8", "surrogateescape")
    path.write_bytes(gzip.compress(data) if compressed else data)
    os.utime(path, (NOW, NOW if written is None else written))


def query(lines=100, since="", level="", request_id="", text="", regex="", raw=True):
    return Query.parse(lines, since, level, request_id, text, regex, raw, NOW)


def messages(entries):
    return [entry.fields["message"] for entry in entries]


@pytest.fixture
def log(tmp_path):
    return Log(str(tmp_path / "scoring-0.log"), "scoring", "scoring-0")


@pytest.fixture
def rotated(tmp_path, log):
    """Three hundred lines in three files."""
    write(tmp_path / "scoring-0.log", [line(number) for number in range(200, 300)], written=BEGIN + 299)
    write(tmp_path / "scoring-0.log.1", [line(number) for number in range(100, 200)], written=BEGIN + 199)
    write(tmp_path / "scoring-0.log.2.gz", [line(number) for number in range(100)], True, written=BEGIN + 99)
    return log


def test_the_last_lines_are_the_newest_oldest_first(rotated):
    assert messages(rotated.last(query(3))) == ["message 297", "message 298", "message 299"]


def test_it_goes_back_into_rotated_and_compressed_files(rotated):
    assert messages(rotated.last(query(1000))) == [f"message {number}" for number in range(300)]
    assert messages(rotated.last(query(101)))[0] == "message 199"


def test_a_short_answer_does_not_open_old_files(rotated, tmp_path):
    (tmp_path / "scoring-0.log.1").chmod(0)
    (tmp_path / "scoring-0.log.2.gz").write_bytes(b"broken")
    assert len(rotated.last(query(100))) == 100


def test_since_reads_no_older_file_than_it_must(rotated, monkeypatch):
    unpacked = []
    real = log_reader._unpacked_from_the_end
    monkeypatch.setattr(log_reader, "_unpacked_from_the_end", lambda stream: unpacked.append(stream) or real(stream))
    since = iso(BEGIN + 150)
    assert len(rotated.last(query(1000, since=since))) == 150
    assert rotated.last(query(since=since, text="nothing has this")) == []
    assert unpacked == []
    assert len(rotated.last(query(1000, since=iso(BEGIN + 50)))) == 250
    assert len(unpacked) == 1


@pytest.mark.parametrize("size", [1, 7, 64, 1000, 262144])
def test_lines_are_whole_wherever_a_block_begins(log, tmp_path, size, monkeypatch):
    monkeypatch.setattr(log_reader, "_BLOCK", size)
    generator = random.Random(size)
    texts = ["x" * generator.randrange(200) + f" ü {number}" for number in range(60)]
    for compressed in (False, True):
        name = "scoring-0.log.1.gz" if compressed else "scoring-0.log"
        write(tmp_path / name, [line(number, text) for number, text in enumerate(texts)], compressed)
        found = messages(log.last(query(1000)))
        assert found == texts
        (tmp_path / name).unlink()


def test_a_line_of_a_mebibyte_is_one_line_and_comes_back_shortened(log, tmp_path):
    write(tmp_path / "scoring-0.log", [line(0), line(1, "x" * 2**20), line(2)])
    before, long, after = [entry.as_dict()["fields"]["message"] for entry in log.last(query())]
    assert (before, after) == ("message 0", "message 2")
    assert long.startswith("xxx")
    assert long.endswith("(1032192 characters more in the log)")


def test_a_big_file_is_read_from_its_end(log, tmp_path):
    """Half a gigabyte, of which the hole has no line."""
    path = tmp_path / "scoring-0.log"
    with path.open("wb") as stream:
        stream.truncate(2**29)
        stream.seek(0, os.SEEK_END)
        stream.write(("\n" + "".join(f"{line(number)}\n" for number in range(200))).encode())
    begun = time.monotonic()
    assert len(log.last(query(100))) == 100
    assert time.monotonic() - begun < 5


def test_a_file_that_is_cut_off_is_read_as_far_as_it_goes(rotated, tmp_path):
    path = tmp_path / "scoring-0.log.2.gz"
    path.write_bytes(path.read_bytes()[:-300])
    found = messages(rotated.last(query(1000)))
    assert found[-200:] == [f"message {number}" for number in range(100, 300)]


def test_the_plain_file_counts_while_it_is_being_compressed(rotated, tmp_path):
    (tmp_path / "scoring-0.log.1.gz").write_bytes(gzip.compress(b"half")[:-5])
    assert len(rotated.last(query(1000))) == 300


@pytest.mark.skipif(not shutil.which("gzip"), reason="there is no gzip")
def test_a_rotation_while_it_is_read_neither_repeats_nor_hides_a_line(rotated, tmp_path, monkeypatch):
    """As logrotate does it: the newest file is renamed, the one before compressed."""
    real = Log._last
    rotations = []

    def rotating(self, *arguments):
        entries = real(self, *arguments)
        if not rotations:
            rotations.append(True)
            (tmp_path / "scoring-0.log.2.gz").rename(tmp_path / "scoring-0.log.3.gz")
            subprocess.run(["gzip", str(tmp_path / "scoring-0.log.1")], check=True)
            (tmp_path / "scoring-0.log.1.gz").rename(tmp_path / "scoring-0.log.2.gz")
            (tmp_path / "scoring-0.log").rename(tmp_path / "scoring-0.log.1")
            write(tmp_path / "scoring-0.log", [line(300)])
        return entries

    monkeypatch.setattr(Log, "_last", rotating)
    assert messages(rotated.last(query(1000))) == [f"message {number}" for number in range(301)]


# --- filters --------------------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(log, tmp_path):
    write(
        tmp_path / "scoring-0.log",
        [
            line(0, "begins", "debug"),
            line(1, "answers", "INFO", **{"http.request.id": "abc-1", "http.response.status_code": 200}),
            line(2, "is slow: 1234 ms", "warning", **{"http.request.id": "abc-12"}),
            line(3, "fails", "error", **{"http.request.id": "abc-1", "error.stack_trace": "Traceback\n  in grüße()"}),
            line(4, "ends", "critical"),
        ],
    )
    return log


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, ["begins", "answers", "is slow: 1234 ms", "fails", "ends"]),
        ({"level": "warning"}, ["is slow: 1234 ms", "fails", "ends"]),
        ({"level": "WARN"}, ["is slow: 1234 ms", "fails", "ends"]),
        ({"level": "critical"}, ["ends"]),
        ({"request_id": "abc-1"}, ["answers", "fails"]),
        ({"request_id": "abc"}, []),
        ({"text": "slow"}, ["is slow: 1234 ms"]),
        ({"text": "grüße()"}, ["fails"]),
        ({"text": 'a"b'}, []),
        ({"regex": r"\d{4} ms"}, ["is slow: 1234 ms"]),
        ({"regex": "^ends$|^begins$"}, []),  # searched is every field, not the message alone
        ({"regex": "(?m)^ends$|^begins$"}, ["begins", "ends"]),
        ({"request_id": "abc-1", "level": "error"}, ["fails"]),
        ({"since": iso(BEGIN + 3)}, ["fails", "ends"]),
        ({"since": "99997s"}, ["fails", "ends"]),
        ({"lines": 2, "level": "info"}, ["fails", "ends"]),
    ],
    ids=str,
)
def test_filters(mixed, given, found):
    assert messages(mixed.last(query(**given))) == found


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", NOW - 90),
        ("10m", NOW - 600),
        ("2h", NOW - 7200),
        ("1.5h", NOW - 5400),
        ("3d", 1.0),
        ("1 w", 1.0),
        ("2023-11-14T22:13:20Z", BEGIN),
        ("2023-11-14 22:13:20", BEGIN),
        ("2023-11-14T22:13", BEGIN - 20),
        ("2023-11-14T23:13:20+01:00", BEGIN),
        ("2023-11-14T23:13:20.5+0100", BEGIN + 0.5),
        ("2023-11-14", BEGIN - 22 * 3600 - 13 * 60 - 20),
    ],
)
def test_since_is_a_distance_or_a_time(text, seconds):
    now = NOW if not text.endswith(("d", "w")) else 86400.0
    assert log_reader.moment(text, now) == seconds


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"since": "yesterday"}, ["since is 'yesterday'", "10m", "2026-01-31T14:30"]),
        ({"since": "10"}, ["since is '10'"]),
        ({"since": "2026-13-01"}, ["since is '2026-13-01'"]),
        ({"since": "2026-01-01T25:00"}, ["since is '2026-01-01T25:00'"]),
        ({"level": "loud"}, ["level is 'loud'", "debug, info, warning, error, critical"]),
        ({"regex": "("}, ["regex is '('", "missing )"]),
        ({"lines": 0}, ["lines is 0", "1 to 100000"]),
    ],
    ids=str,
)
def test_a_wrong_filter_is_an_error_that_says_what_to_write(given, says):
    with pytest.raises(LogError) as error:
        query(**given)
    for words in says:
        assert words in str(error.value)


# --- formats --------------------------------------------------------------------------------------------------------


def test_a_line_of_the_text_format_has_the_same_fields(log, tmp_path):
    text = f"{iso(BEGIN)} WARNING  scoring-0[123] scoring.db f00-1 It took 12 s: \\x1b[31m"
    write(tmp_path / "scoring-0.log", [text, f"{iso(BEGIN + 1)} INFO     scoring-0[123] scoring - No request"])
    first, second = log.last(query())
    assert first.exact
    assert first.time == BEGIN
    assert first.fields == {
        "@timestamp": iso(BEGIN),
        "log.level": "warning",
        "message": "It took 12 s: \\x1b[31m",
        "service.node.name": "scoring-0",
        "process.pid": 123,
        "log.logger": "scoring.db",
        "http.request.id": "f00-1",
    }
    assert "http.request.id" not in second.fields
    assert messages(log.last(query(request_id="f00-1", level="warning"))) == [first.fields["message"]]


def test_a_line_without_a_time_has_that_of_the_line_after_it(log, tmp_path):
    write(
        tmp_path / "scoring-0.log", ["what is this", line(5), '{"half": ', "[1, 2]", '{"@timestamp": 5}'], written=NOW
    )
    found = log.last(query())
    assert [(entry.time, entry.exact) for entry in found] == [
        (BEGIN + 5, False),
        (BEGIN + 5, True),
        (NOW, False),
        (NOW, False),
        (NOW, False),
    ]
    assert messages(found)[0] == "what is this"


def test_a_raw_line_has_no_level_and_passes_that_filter(tmp_path):
    raw = Log(str(tmp_path / "scoring-0.raw.log"), "scoring", "scoring-0", raw=True)
    write(tmp_path / "scoring-0.raw.log", ["Fatal Python error: Segmentation fault", "bytes \udcff"], written=NOW)
    found = raw.last(query(level="error"))
    assert messages(found) == ["Fatal Python error: Segmentation fault", "bytes \\xff"]
    assert {entry.fields["log.logger"] for entry in found} == {"raw"}
    assert raw.last(query(request_id="x")) == []


def test_what_an_app_writes_past_the_runtime_harms_nobody(log, tmp_path):
    deep = '{"@timestamp": "' + iso(BEGIN) + '", "a": ' + "[" * 100_000 + "]" * 100_000 + "}"
    half = '{"@timestamp": "' + iso(BEGIN + 1) + '", "message": "\\ud800", "more": {"a": [1]}, "log.level": null}'
    write(tmp_path / "scoring-0.log", [deep, half])
    entries = [entry.as_dict() for entry in log.last(query())]
    json.dumps(entries).encode()
    assert entries[1]["fields"]["message"] == "\\ud800"
    assert entries[1]["fields"]["more"] == '{"a": [1]}'


def test_links_and_pipes_are_not_followed(log, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(line(0, "secret"))
    (tmp_path / "scoring-0.log").symlink_to(secret)
    os.mkfifo(tmp_path / "scoring-0.log.1")
    assert log.last(query()) == []


# --- which logs -----------------------------------------------------------------------------------------------------


@pytest.fixture
def host(tmp_path):
    """Two apps, the logs of one of which are somewhere else; one's name begins like the other's."""
    conf = tmp_path / "etc" / "conf.d"
    conf.mkdir(parents=True)
    for app in ("api", "api-9"):
        folder = tmp_path / "log" / app
        folder.mkdir(parents=True)
        (conf / f"{app}.conf").write_text(
            f"[fcgi-program:{app}]\ncommand=/srv/{app}/current/venv/bin/python -I"
            f" /srv/{app}/current/lib/pygun_runtime/launch.py\nstdout_logfile={folder}/%(program_name)s-%(process_num)d.log\n"
        )
        write(folder / f"{app}-0.log", [line(0, f"{app} 0")])
        write(folder / f"{app}-1.log", [line(1, f"{app} 1")])
        write(folder / f"{app}-0.raw.log", ["raw"], written=BEGIN + 2)
        write(folder / f"{app}-0.raw.log.1", ["older"], written=BEGIN - 2)
        write(folder / f"{app}-7.log.3.gz", [line(-1, f"{app} 7")], True)
        write(folder / f"{app}.job-nightly.log", [f"{app} job"], written=BEGIN - 3)
    (conf / "worker.conf").write_text("[program:worker]\ncommand=/bin/cat\nstdout_logfile=/var/log/worker.log\n")

    def found(**given):
        return find_logs(str(tmp_path / "srv"), str(tmp_path / "etc"), **given)

    return found


def test_every_app_is_found_with_its_instances_and_raw_logs(host):
    assert [(log.app, log.instance, log.raw) for log in host()] == [
        ("api", "api-0", False),
        ("api", "api-0", True),
        ("api", "api-1", False),
        ("api", "api-7", False),
        ("api", "api.job-nightly", False),
        ("api-9", "api-9-0", False),
        ("api-9", "api-9-0", True),
        ("api-9", "api-9-1", False),
        ("api-9", "api-9-7", False),
        ("api-9", "api-9.job-nightly", False),
    ]


def test_the_logs_of_an_app_come_in_the_order_of_time(host):
    assert messages(read(host(name="api"), query())) == ["api job", "older", "api 7", "api 0", "api 1", "raw"]
    assert messages(read(host(name="api"), query(2, raw=False))) == ["api 0", "api 1"]
    assert messages(read(host(name="api", instance="api-7"), query())) == ["api 7"]


def test_the_log_of_a_program_of_the_release_is_found_by_its_name(host, tmp_path):
    write(tmp_path / "log" / "api" / "api.worker-0.log", ["plain words of the worker"])
    assert messages(read(host(name="api", instance="api.worker-0"), query())) == ["plain words of the worker"]


def test_an_app_or_instance_that_is_not_there_is_an_error_that_names_those_that_are(host):
    with pytest.raises(LogError, match=r"no app is called 'apo'. This host has api, api-9."):
        host(name="apo")
    with pytest.raises(LogError, match=r"no instance is called 'api-2'. .* api-0, api-1, api-7."):
        host(name="api", instance="api-2")


def test_an_app_can_be_told_with_the_directory_of_its_logs(host, tmp_path):
    assert len(host(name="other", log_dir=str(tmp_path / "log" / "api"))) == 0
    (tmp_path / "log" / "api" / "other-0.log").write_text("")
    assert [log.instance for log in host(name="other", log_dir=str(tmp_path / "log" / "api"))] == ["other-0"]
