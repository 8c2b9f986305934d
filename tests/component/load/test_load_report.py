# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The figures are made from the samples as they should be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import load_report
import pytest
from load_report import (
    Recorder,
    Roll,
    Sample,
    percentiles,
    read_marks,
    read_samples,
    rolls_from,
    summarize,
    write_mark,
)

CLIENT = Path(load_report.__file__).with_name("client.py")


def sample(start, seconds=0.1, error="", kind="new", planned=0.0, races=0):
    return Sample(kind, start, seconds, planned, races, error, 'what, "it" said\nis', "")


def test_percentiles_are_by_nearest_rank():
    hundred = [number / 1000 for number in range(100, 0, -1)]

    assert percentiles(hundred) == {"p50": 50, "p99": 99, "max": 100}
    assert percentiles([0.007]) == {"p50": 7, "p99": 7, "max": 7}
    assert percentiles([]) is None


@pytest.mark.parametrize(
    "start, seconds, during",
    [
        (9.0, 0.9, False),  # over before it began
        (9.0, 1.0, True),  # still in flight when it began
        (5.0, 20.0, True),  # from before it to after it
        (10.5, 0.1, True),
        (12.0, 1.0, True),  # began as it ended
        (12.1, 1.0, False),
    ],
)
def test_a_request_belongs_to_a_roll_that_it_touches(start, seconds, during):
    samples = [sample(start, seconds, error="status_500"), sample(0.0, 25.0, kind="stream")]

    result = summarize(samples, [Roll(10.0, 12.0, "one")])

    assert result["rolls"][0]["failed"] == during
    assert result["kinds"]["new"]["during_rolls"]["failed"] == during
    assert result["kinds"]["new"]["outside_rolls"]["failed"] == (not during)


def test_a_request_in_two_rolls_is_counted_once_in_the_figures_of_its_kind():
    result = summarize([sample(1, 5)], [Roll(2, 3, "a"), Roll(4, 5, "b")])

    assert [roll["sent"] for roll in result["rolls"]] == [1, 1]
    assert result["kinds"]["new"]["during_rolls"]["sent"] == 1


def test_delay_is_what_came_on_top_of_the_planned_time_of_answered_requests():
    result = summarize([sample(0, 2.5, planned=2.0), sample(0, 30, error="status_500")], [])

    assert result["kinds"]["new"]["all"]["latency_ms"]["max"] == 2500
    assert result["kinds"]["new"]["all"]["delay_ms"]["max"] == 500


def test_totals_add_up():
    samples = [sample(0), sample(1, error="a"), sample(2, races=1), sample(3, error="b")]

    assert summarize(samples, [])["totals"] == {"sent": 4, "ok": 2, "failed": 2, "close_race": 1}


def test_marks_are_paired_and_an_open_roll_lasts_to_the_end():
    marks = [("begin", 5.0, "b"), ("begin", 1.0, "a"), ("end", 2.0, "")]

    assert rolls_from(marks, finish=9.0) == [Roll(1.0, 2.0, "a"), Roll(5.0, 9.0, "b")]


def test_an_end_without_a_begin_is_an_error():
    with pytest.raises(ValueError, match="never began"):
        rolls_from([("end", 2.0, "")], finish=9.0)


@pytest.mark.parametrize("line", ["begin", "begin now", "start 1", "end nan", "end inf"])
def test_a_bad_mark_is_named_with_its_line(tmp_path, line):
    (tmp_path / "m").write_text(f"begin 1 ok\n\n{line}\n")

    with pytest.raises(ValueError, match=r"m:3: neither"):
        read_marks(tmp_path / "m")


def test_marks_are_read_as_they_were_written(tmp_path):
    write_mark(tmp_path / "m", "begin", "deploy 1 of 2")
    write_mark(tmp_path / "m", "end", "")

    (first, start, label), (second, end, none) = read_marks(tmp_path / "m")

    assert (first, label, second, none) == ("begin", "deploy 1 of 2", "end", "")
    assert start <= end


def test_a_report_made_later_says_the_same(tmp_path):
    recorder = Recorder(tmp_path / "samples.csv")
    for number in range(20):
        recorder.add(sample(number / 3, error="status_500" if number % 7 == 0 else ""))
    recorder.close()
    (tmp_path / "marks").write_text("begin 2 one\nend 4\n")

    assert read_samples(tmp_path / "samples.csv") == recorder.samples
    done = subprocess.run(
        [sys.executable, CLIENT, "report", tmp_path / "samples.csv"] + ["--marks", tmp_path / "marks"],
        capture_output=True,
        check=False,
        text=True,
    )

    expected = summarize(recorder.samples, [Roll(2.0, 4.0, "one")])
    assert json.loads(done.stdout) == json.loads(json.dumps({"problems": [], **expected}))
    assert done.returncode == 1
    assert "new: 3 x status_500" in done.stderr
