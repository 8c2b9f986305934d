# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the benchmarks read from other programs, and what they write."""

import json
import os
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from benchmarks import changing, deploying, hosts, measure, report, serving
from benchmarks.changing import Roll, Sample
from tools.shell import Failed

TOLD = {"requests": 3000, "duration": 1500000, "p50": 2500, "p99": 9000, "max": 12000,
        "connect": 1, "read": 2, "write": 3, "status": 4, "timeout": 5}  # fmt: skip


def test_wrks_last_line_is_read():
    found = serving.parse(f"Running 1s test @ http://127.0.0.1/\n  Requests/sec:  2\n{json.dumps(TOLD)}\n")
    assert found == {"requests": 3000, "rate": 2000.0, "p50_ms": 2.5, "p99_ms": 9.0, "wrong": 4, "lost": 11}


def test_latencies_of_no_answer_are_none():
    found = serving.parse(json.dumps({**TOLD, "requests": 0, "p50": 0, "p99": 0}))
    assert (found["rate"], found["p50_ms"], found["p99_ms"]) == (0, None, None)


@pytest.mark.parametrize("text", ["", "unable to connect to 127.0.0.1:1 Connection refused\n"])
def test_wrk_without_figures_is_an_error(text):
    with pytest.raises(Failed, match="without figures"):
        serving.parse(text)


def test_tasks_are_those_of_the_busiest_host():
    text = (
        "PLAY RECAP ***\n"
        "ours01                     : ok=14   changed=0    unreachable=0    failed=0\n"
        "ours02                     : ok=15   changed=3    unreachable=0    failed=0\n"
    )
    assert hosts.recap(text) == (15, 3)


def sample(start, seconds, version="", error=""):
    return Sample("get", start, seconds, 0.0, 0, error, "", version)


def test_the_new_code_answers_everywhere_when_the_old_one_has_answered_for_the_last_time():
    samples = [sample(9, 0.1, "1"), sample(11, 0.1, "2"), sample(12.5, 0.2, "1"), sample(14, 0.1, "2")]
    found = changing.seen(samples, Roll(10, 13, "deploy"), 20, "2")
    assert found["everywhere"] == 2.5
    assert found["failed"] == 0
    assert found["p99_ms"] == 200


def test_the_new_code_answers_everywhere_when_it_answers_first_after_a_gap():
    samples = [sample(10.1, 0, error="connect_refused"), sample(13, 0.5, "2")]
    found = changing.seen(samples, Roll(10, 12, "deploy"), 20, "2")
    assert found["everywhere"] == 3.5
    assert found["failed"] == 1


def test_a_change_after_which_the_old_code_answers_is_an_error():
    with pytest.raises(Failed, match="answers and not 2"):
        changing.seen([sample(11, 0.1, "1")], Roll(10, 12, "deploy"), 20, "2")


def test_what_fails_after_the_command_and_before_the_next_one_counts():
    samples = [sample(12.5, 0.1, error="closed"), sample(21, 0.1, error="closed")]
    assert changing.seen(samples, Roll(10, 12, "restart"), 20, "")["failed"] == 1


FIGURE = {"median": 10.0, "low": 9.0, "high": 11.0, "n": 5, "noisy": False}


def test_a_noisy_figure_is_not_printed():
    assert report.shown(FIGURE, {"noise": ""}, 1) == "10.0 (9.0 to 11.0)"
    assert report.shown({**FIGURE, "noisy": True}, {"noise": ""}) == "too noisy"
    assert report.shown(FIGURE, {"noise": "yes"}) == "too noisy"


def serving_result(noise=""):
    def of(rate, cpu):
        one = {**FIGURE, "low": 1, "high": 1}
        return {
            "rate": {**one, "median": rate},
            "cpu_us": {**one, "median": cpu},
            "p50_ms": one,
            "p99_ms": one,
            "lost": one,
        }

    cells = ["hello, 50 connections", "compute, 50 connections", "wait, 500 connections", "wait, 2000 connections"]
    servers = {
        "ours": of(190, 70),
        "ours, no access log": of(200, 68),
        "the tutorial's": of(100, 100),
        "gunicorn gevent": of(150, 1),
    }
    return {
        "part": "serving", "mode": "short", "date": "2026-03-01", "processors": 2, "model": "<CPU & co>", "kernel": "6.1",
        "python": "3.11.2", "noise": noise, "cells": dict.fromkeys(cells, servers), "memory": {"two": 2**20},
    }  # fmt: skip


def test_the_headline_holds_the_ratios():
    told = report.headline({"serving": serving_result()})
    assert "| CPU per hello request ÷ the tutorial's | 0.70 |" in told
    assert "| Requests/s with 50 ms of waiting, 500 connections ÷ the tutorial's | 1.90 |" in told
    assert "| Requests/s with 50 ms of waiting, 500 connections ÷ gunicorn's own gevent worker's | 1.27 |" in told
    assert "2026-03-01, 2 processors" in told


def test_the_headline_of_a_noisy_run_has_its_ratios_and_says_that_it_was_noisy():
    told = report.headline({"serving": serving_result("something else ran")})
    assert "too noisy" not in told and "| 0.70 |" in told
    assert told.endswith("The machine was busy with other work.")


def test_a_ratio_is_taken_round_by_round_and_has_its_spread():
    # Both are five times as slow in the second round: the ratio is not.
    ours, theirs = measure.figure([10, 50, 12]), measure.figure([20, 100, 20])
    assert report.spread(report.ratio(ours, theirs)) == "0.50 (0.50 to 0.60)"
    assert report.shown(ours, {"noise": ""}) == "too noisy"


def test_a_ratio_to_what_was_not_measured_is_none():
    assert report.spread(report.ratio(measure.figure([1]), None)) == "-"
    assert report.ratio(measure.figure([1.0, None]), measure.figure([2.0, 3.0]))["median"] == 0.5


def test_the_table_of_a_model_has_each_figure_with_its_goal():
    def run(seconds, sent=0, content=0):
        return {
            "seconds": measure.figure(seconds),
            "sent": measure.figure([sent]),
            "content": measure.figure([content]),
        }

    model = {
        "no change": run([3.0, 6.0, 3.0]),
        "a line": run([6.0, 12.0, 6.0], 1_500_000, 2_400),
        "a setting": run([6.0], 1_400_000, 900),
        "a new model": run([9.0], 302_000_000, 101_000_000),
    }
    small = {"no change": run([3.0, 6.0, 4.0]), "a line": run([5.0, 10.0, 5.0])}
    told = report.model({
        "size": 100_000_000, "noise": "yes", "runs": {"model": model, "small": small, "large": {"no change": run([3.0, 6.0, 4.0])}},
        "first install": {"a small service": 4.0, "seconds": 10.0, "by hand": [7.0, 9.0]}, "import": measure.figure([1.5]),
        "peaks": {"control node": 120e6, "host": 60e6}, "disk": measure.figure([500_000, 600_000]),
        "environments made for a new model": 0,
    })  # fmt: skip
    for row in (
        "| bytes sent for a change of one line: in all; files of the release | 1,500 kB; 2.4 kB | ≤ 200 kB |",
        "| seconds, change of one line ÷ the small service's | 1.20 | ≤ 1.3 |",
        "| disk for each further release, kB | 550 | ≤ 1,000 |",
        "| a new model alone: bytes of files sent ÷ its size | 1.0100 | ≤ 1.01 |",
        "| a new model alone: environments built | 0 | 0 |",
        "| seconds, no change ÷ the small service's | 1.00 (0.75 to 1.00) | ≤ 1.0 |",
        "| largest process with a new file of 2 GiB, host, MB | 60 | ≤ 150 |",
        "| first install ÷ the same packages and the model by hand | 1.25 | ≤ 1.5 |",
        "| the same without the seconds of a small service's first install | 0.75 |  |",
        "| seconds, change of one line | too noisy |  |",
    ):
        assert row in told.splitlines()


def test_a_remote_execution_is_counted_with_its_bytes(tmp_path):
    engine, count = tmp_path / "engine", tmp_path / "count"
    engine.write_text('#!/bin/sh\nshift 3\nexec "$@"\n')  # exec -i HOST COMMAND
    engine.chmod(0o755)
    environ = {**os.environ, "CONTAINER_ENGINE": str(engine), "BENCH_COUNT": str(count)}
    commands = ("cat", f"dd of={tmp_path}/release.tar.gz.1 bs=65536", "exit 3")
    done = [
        subprocess.run(
            [hosts.HERE / "counting-pexec", "-o", "Option", "host", command], input=b"x" * 100_000, env=environ
        )
        for command in commands
    ]
    assert [one.returncode for one in done] == [0, 0, 3]
    assert (tmp_path / "release.tar.gz.1").stat().st_size == 100_000
    noted = [line.split() for line in count.read_text().splitlines()]
    assert noted[0] == ["100003", "0", "0"]
    assert noted[1] == [str(100_000 + len(commands[1])), "100000", "0"]


def test_without_results_no_figure_is_printed():
    assert report.headline({}) == report.NONE_YET[0]
    assert report.headline({}, translated=True) == report.NONE_YET[1]


def test_plots_are_well_formed_and_only_of_a_quiet_machine():
    drawn = report.plots(serving_result())
    assert len(drawn) == 8
    for svg in drawn.values():
        assert len(ElementTree.fromstring(svg).findall("{http://www.w3.org/2000/svg}rect")) == 4
    assert report.plots(serving_result("something else ran")) == {}


@pytest.fixture
def readmes(tmp_path, monkeypatch):
    """Both READMEs, with an old table; what the report writes is in tmp_path."""
    both = (tmp_path / "README.md", tmp_path / "README.zh-CN.md")
    for readme in both:
        readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    for name, path in {"PAGE": "page.md", "PLOTS": "plots", "RESULTS": "plots/results.json"}.items():
        monkeypatch.setattr(report, name, tmp_path / path)
    monkeypatch.setattr(report, "READMES", both)
    return both


def test_the_page_says_nothing_that_the_results_do_not_say(tmp_path, readmes):
    report.write()
    assert report.NONE_YET[0] in (tmp_path / "page.md").read_text()
    report.keep([serving_result()])
    assert "| the tutorial's | 100 " in (tmp_path / "page.md").read_text()
    for text in (readme.read_text() for readme in readmes):
        assert text.startswith("before\n") and text.endswith("\nafter\n")
        assert "0.70" in text and "old" not in text


def test_the_readme_has_the_headlines_own_run_and_the_page_the_parts(tmp_path, readmes):
    report.keep([serving_result()])
    report.keep_headline([{**serving_result(), "date": "2026-04-02", "mode": "headline"}])
    report.keep([{**serving_result(), "date": "2026-05-03"}])
    assert "2026-04-02" in readmes[0].read_text() and "2026-05-03" not in readmes[0].read_text()
    assert "2026-05-03" in (tmp_path / "page.md").read_text() and "2026-04-02" not in (tmp_path / "page.md").read_text()


def a_run(changed=0, cpu=6.0):
    return hosts.Run(seconds=4.0, cpu=cpu, round_trips=15, tasks=7, changed=changed, hosts=3)


def test_a_run_that_was_to_change_nothing_and_did_is_an_error():
    assert deploying.unchanged("ours", a_run()) == a_run()
    with pytest.raises(Failed, match="ours: a run without a change"):
        deploying.unchanged("ours", a_run(changed=1))


def test_the_table_of_deploys_has_the_processor_time_per_host():
    found = deploying.summary({"ours": {"no change, 5 at once": [a_run(), a_run(), a_run()]}})
    text = report.deploying({"settings": {"10 hosts, by forks": found}, "noise": ""})
    assert "### 10 hosts, by forks" in text
    assert "| ours, no change, 5 at once | 7 | 15 | 4.0 | 1.00 | 6.0 | 2.00 |" in text.splitlines()
