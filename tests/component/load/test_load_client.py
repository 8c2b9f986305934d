# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The client counts exactly what a server drops: no request too few, none too many."""

from __future__ import annotations

import json
import signal
import time

import pytest
from load_report import read_samples

FAST = ["--seed=1"]
IMPATIENT = ["--timeout=2"]  # for servers that hang; else a busy machine must not matter
KINDS = {
    "new": ["--new=6", "--new-pause=0.002", "--requests=10"],
    "keepalive": ["--keepalive=6", "--keepalive-pause=0.002", "--requests=10"],
    "idle": ["--idle=6", "--idle-pause=0.01", "--requests=10"],
    "slow": ["--slow=6", "--slow-pause=0", "--slow-seconds=0.01-0.05", "--requests=10"],
    "stream": [
        *("--stream=6", "--stream-pause=0", "--requests=10"),
        *("--stream-chunks=4", "--stream-ms=5"),
    ],
    "upload": [
        *("--upload=6", "--upload-pause=0", "--requests=10"),
        *("--upload-bytes=5000", "--upload-pieces=5", "--upload-seconds=0.1"),
    ],
}
# what the server does -> what the client has to call it
ANYWHERE = {
    "close": "closed_before_answer",
    "hang": "timeout_before_answer",
    "garbage": "malformed_answer",
    "truncate_head": "truncated_answer",
    "truncate": "truncated_answer",
    "truncate_reset": "truncated_answer",
    "hang_in_answer": "timeout_in_answer",
    "no_length": "malformed_answer",
    "status_500": "status_500",
    "status_404": "status_404",
    "wrong_body": "wrong_body",
}
CASES = [("keepalive", fault, name) for fault, name in ANYWHERE.items()]
CASES += [
    (kind, fault, ANYWHERE[fault])
    for kind in ("new", "slow", "stream", "upload")
    for fault in ("close", "truncate", "status_500", "wrong_body")
]
CASES += [
    ("new", "reset", "reset_before_answer"),
    ("upload", "reset", "reset_before_answer"),
    ("stream", "no_last_chunk", "truncated_answer"),
    ("upload", "early_503", "status_503"),
    ("upload", "reset_in_upload", "reset_before_answer"),
]


def counts_of(result, kind):
    found = result["kinds"][kind]
    return {name: error["count"] for name, error in found["errors"].items()}


UNIX_TOO = pytest.mark.parametrize(
    "unix", [pytest.param(False, id="tcp"), pytest.param(True, id="unix", marks=pytest.mark.full)]
)


@UNIX_TOO
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_drops_nothing_is_not_accused(serve, client, kind, unix):
    server = serve(unix=unix)

    result = client(server.target, *FAST, *KINDS[kind]).finish()

    assert result["status"] == 0
    assert result["totals"] == {"sent": 60, "ok": 60, "failed": 0, "close_race": 0}
    assert server.read == 60


@pytest.mark.parametrize("kind, fault, name", CASES)
def test_every_fifth_request_is_dropped_and_exactly_those_are_counted(serve, client, kind, fault, name):
    server = serve(lambda number, _path: fault if number % 5 == 2 else "")

    impatience = IMPATIENT if "hang" in fault else []
    result = client(server.target, *FAST, *impatience, *KINDS[kind]).finish()

    assert server.done == {"": 48, fault: 12}
    assert counts_of(result, kind) == {name: 12}
    assert result["totals"] == {"sent": 60, "ok": 48, "failed": 12, "close_race": 0}
    assert len(result["kinds"][kind]["errors"][name]["examples"]) == 10
    assert result["status"] == 1


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_many_faults_at_once_are_told_apart(serve, client, unix):
    faults = [*ANYWHERE, "", "", "race", ""]
    server = serve(lambda number, _path: faults[number % len(faults)], unix=unix)
    options = ["--keepalive=12", "--keepalive-pause=0.002", "--requests=10"]  # those that hang do so together

    result = client(server.target, *FAST, *IMPATIENT, *options).finish()

    expected = {}
    for fault, name in ANYWHERE.items():
        expected[name] = expected.get(name, 0) + server.done[fault]
    assert counts_of(result, "keepalive") == expected
    assert server.read == result["totals"]["sent"] == 120
    assert result["totals"]["close_race"] == server.raced > 0
    assert result["totals"]["failed"] == sum(expected.values()) == 11 * 8


@UNIX_TOO
@pytest.mark.parametrize("kind", ["keepalive", "idle"])
def test_close_races_are_repeated_and_counted_apart(serve, client, kind, unix):
    server = serve(lambda number, _path: "race" if number % 5 == 0 else "", unix=unix)

    result = client(server.target, *FAST, *KINDS[kind]).finish()

    # 12, but for the workers whose last request it was: nothing followed that could meet the race.
    assert 6 <= server.raced <= server.done["race"] == 12
    assert result["totals"] == {"sent": 60, "ok": 60, "failed": 0, "close_race": server.raced}
    assert result["kinds"][kind]["connections"] == 6 + server.raced
    assert result["status"] == 0


def test_a_repeated_request_that_fails_is_a_failed_request(serve, client):
    def plan(number, _path):
        return {0: "race", 1: "status_500"}.get(number, "")

    server = serve(plan)

    result = client(server.target, *FAST, "--keepalive=1", "--requests=3").finish()

    assert result["totals"] == {"sent": 3, "ok": 2, "failed": 1, "close_race": 1}
    assert counts_of(result, "keepalive") == {"status_500": 1}


def test_a_reset_long_after_the_request_was_sent_is_no_close_race(serve, client):
    server = serve(lambda number, _path: "reset_late" if number == 1 else "")

    result = client(server.target, "--keepalive=1", "--requests=3").finish()

    assert result["totals"] == {"sent": 3, "ok": 2, "failed": 1, "close_race": 0}
    assert counts_of(result, "keepalive") == {"reset_before_answer": 1}


def test_a_connection_found_closed_before_its_next_request_is_no_event(serve, client):
    server = serve(lambda number, _path: "idle_close" if number % 4 == 0 else "")

    result = client(server.target, *FAST, "--keepalive=1", "--keepalive-rate=4", "--requests=20", "--seed=3").finish()

    assert result["totals"] == {"sent": 20, "ok": 20, "failed": 0, "close_race": 0}
    assert result["kinds"]["keepalive"]["idle_closed"] == server.done["idle_close"] == 5


@pytest.mark.parametrize("fault", ["extra_bytes", "idle_bytes"])
def test_bytes_that_nobody_asked_for_are_a_failure(serve, client, fault):
    server = serve(lambda number, _path: fault if number == 3 else "")

    result = client(server.target, *FAST, "--keepalive=1", "--keepalive-rate=3", "--requests=9").finish()

    assert counts_of(result, "keepalive").get("extra_bytes", 0) == 1
    assert result["totals"]["failed"] == 1


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_refused_connections_are_counted(serve, client, unix):
    server = serve(lambda number, _path: "refuse" if number == 19 else "", unix=unix)

    result = client(server.target, *FAST, "--new=1", "--new-pause=0.002", "--requests=50").finish()

    assert server.read == 20
    assert counts_of(result, "new") == {"connect_refused": 30}
    assert result["totals"] == {"sent": 50, "ok": 20, "failed": 30, "close_race": 0}


def test_a_target_that_is_none_is_explained(client):
    running = client("localhost", "--new=1")

    assert "'localhost' is neither host:port nor unix:/path" in running.process.communicate()[1]
    assert running.process.returncode == 2


def test_a_unix_socket_that_is_gone_is_counted(tmp_path, client):
    result = client(f"unix:{tmp_path}/none", *FAST, "--new=2", "--requests=3").finish()

    assert counts_of(result, "new") == {"connect_missing": 6}


def test_the_kinds_are_counted_each_for_itself(serve, client):
    def plan(_number, path):
        return "status_500" if path.startswith(("/wait", "/stream")) else ""

    options = [*("--new=2", "--keepalive=2", "--idle=2", "--idle-pause=0.01"), "--requests=5"]
    options += [*("--slow=2", "--slow-seconds=0.01", "--stream=2", "--stream-ms=5")]
    options += [*("--upload=2", "--upload-seconds=0.05")]

    result = client(serve(plan).target, *FAST, *options).finish()

    failed = {kind: found["failed"] for kind, found in result["kinds"].items()}
    assert failed == {"new": 0, "keepalive": 0, "idle": 0, "slow": 10, "stream": 10, "upload": 0}
    assert {found["sent"] for found in result["kinds"].values()} == {10}


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "file", "duration"])
def test_what_is_in_flight_at_the_end_is_finished_and_counted(serve, client, tmp_path, how):
    server = serve()
    options = ["--slow=5", "--slow-seconds=1", "--slow-pause=0", f"--stop-file={tmp_path}/stop"]
    if how == "duration":
        options.append("--duration=3")
    running = client(server.target, *options)
    while server.read < 5:
        assert running.process.poll() is None
        time.sleep(0.05)
    if how == "file":
        (tmp_path / "stop").touch()
    elif how != "duration":
        running.process.send_signal(getattr(signal, how))

    result = running.finish()

    assert result["totals"]["sent"] == result["totals"]["ok"] == server.read >= 5
    assert result["kinds"]["slow"]["all"]["latency_ms"]["p50"] >= 1000
    assert result["status"] == 0


def test_answers_are_told_apart_by_a_header(serve, client):
    server = serve(lambda number, _path: "wrong_header" if number % 3 == 0 else "")

    result = client(server.target, *FAST, "--new=2", "--requests=15", "--record-header=X-Release").finish()

    assert result["kinds"]["new"]["answered_by"] == {"A": 20, "B": 10}
    assert result["totals"]["failed"] == 0


def test_an_answer_without_the_expected_header_value_is_a_failure(serve, client):
    server = serve(lambda number, _path: "wrong_header" if number % 3 == 0 else "")

    result = client(server.target, *FAST, "--new=2", "--requests=15", "--expect-header=X-Release=A").finish()

    assert counts_of(result, "new") == {"wrong_header": 10}


def test_another_service_can_be_asked(serve, client):
    server = serve(lambda _number, path: "" if path == "/about" else "status_404")
    options = [*FAST, "--new=1", "--keepalive=1", "--requests=5", "--path=/about"]

    right = client(server.target, *options, '--contains="scoring"').finish()
    wrong = client(server.target, *options, "--contains=something else").finish()

    assert right["totals"] == {"sent": 10, "ok": 10, "failed": 0, "close_race": 0}
    assert counts_of(wrong, "new") == counts_of(wrong, "keepalive") == {"wrong_body": 5}


def test_a_rate_is_kept(serve, client):
    server = serve()

    result = client(server.target, "--new=4", "--new-pause=0", "--new-rate=40", "--duration=2").finish()

    assert 40 <= result["totals"]["sent"] <= 120  # 40 in a second, and the first of each worker; thousands without


def test_rolls_can_be_marked_by_signals_and_by_a_file(serve, client, tmp_path):
    server = serve()
    marks = tmp_path / "marks"
    now = time.time()
    marks.write_text(f"begin {now - 20} before\nend {now - 10}\n")
    running = client(server.target, "--new=1", "--new-rate=50", "--duration=2.5", f"--marks={marks}")
    while server.read < 20:
        time.sleep(0.01)
    running.process.send_signal(signal.SIGUSR1)
    time.sleep(0.8)
    running.process.send_signal(signal.SIGUSR2)

    result = running.finish()

    before, during = result["rolls"]
    assert (before["label"], before["sent"]) == ("before", 0)
    assert during["end"] - during["begin"] > 0.7
    new = result["kinds"]["new"]
    assert during["sent"] == new["during_rolls"]["sent"] > 0
    assert new["outside_rolls"]["sent"] > 0
    assert new["during_rolls"]["sent"] + new["outside_rolls"]["sent"] == new["sent"]


def test_marks_that_cannot_be_read_cost_no_result(serve, client, tmp_path):
    marks = tmp_path / "marks"
    marks.write_text("begin soon\n")

    result = client(serve().target, "--new=1", "--requests=3", f"--marks={marks}").finish()

    assert result["totals"]["ok"] == 3
    assert result["problems"] == [f"the marks were not used: {marks}:1: neither 'begin TIME' nor 'end TIME'"]
    assert result["status"] == 2


def test_a_kind_that_sent_nothing_is_a_problem(serve, client, tmp_path):
    (tmp_path / "stop").touch()

    result = client(serve().target, "--idle=1", "--idle-pause=30", f"--stop-file={tmp_path}/stop").finish()

    assert result["problems"] == ["idle: nothing was sent"]
    assert result["status"] == 2


def test_counts_can_be_read_while_it_runs(serve, client):
    server = serve(lambda number, _path: "status_500" if number == 0 else "")
    running = client(server.target, "--new=1", "--progress=0.1", "--duration=30")
    counts = {"ok": 0}
    while counts["ok"] < 9:
        assert running.process.poll() is None
        time.sleep(0.05)
        if running.out.exists():
            document = json.loads(running.out.read_text())
            counts = document["kinds"].get("new", counts)
    running.process.send_signal(signal.SIGTERM)

    assert document["running"] is True
    assert counts["failed"] == 1
    assert running.finish()["running"] is False


def test_each_answer_must_have_the_id_that_was_sent_or_one_of_its_own(serve, client, tmp_path):
    """Every other request, from the second on, sends one."""
    faults = {3: "other_id", 4: "other_id", 6: "no_id", 7: "no_id"}
    server = serve(lambda number, _path: faults.get(number, ""))
    samples = tmp_path / "samples.csv"

    result = client(server.target, "--new=1", "--requests=10", "--request-ids=load", f"--samples={samples}").finish()

    assert result["kinds"]["new"]["errors"]["wrong_header"]["count"] == 3
    assert result["totals"]["ok"] == 7
    ids = [sample.request_id for sample in read_samples(samples)]
    assert [ids[turn] for turn in (1, 3, 5, 7, 9)] == [f"load-new-0-{turn}" for turn in (1, 3, 5, 7, 9)]
    assert (ids[0], ids[4], ids[6]) == ("made-1", "other", "")
