# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""As many access lines as answered requests, while logs are rotated, instances restarted, and one is killed."""

from __future__ import annotations

import time
from collections import Counter

from rig.load import Load, by_error, in_flight

AGENT = "load"
#: Seconds before a kill -9 in which an answer may have left the process, and its line not yet. The caller may read it later.
LAST_MOMENT = 0.5
OPTIONS = ("--request-ids", AGENT, "--new-pause", "0.01", "--keepalive-pause", "0.01", "--slow-seconds", "0.5-1.5")


def is_rotated(host) -> bool:
    """Whether each instance, which shares the requests with the other as the kernel will, has filled several logs."""
    names = list(host.read("files", "sample"))
    return all(len([name for name in names if name.startswith(f"{one}.log.")]) >= 3 for one in ("sample-0", "sample-1"))


def test_every_answered_request_has_one_line_through_rotations_restarts_and_a_kill(host, full, measured):
    kills = []
    with Load(host, "logs", options=OPTIONS) as load:
        for _round in range(5 if full else 1):
            time.sleep(60 if full else 4)
            done = host.playbook("restart", {"flask_app_name": "sample"})
            assert done.ok, done.text
            kills.append(host.read("kill-instance", "sample"))
            host.tell("recovered", "sample")
            time.sleep(3)  # with both again
        deadline = time.monotonic() + 300
        while not (is_rotated(host) and len(load.so_far()) > (10_500 if full else 1700)):
            assert time.monotonic() < deadline, "too little for logs to be rotated"
            time.sleep(1)
    time.sleep(2)  # the last lines, and a look of the timer

    seen = host.read("ids", "sample", AGENT)
    logged = Counter(seen["ids"])
    answered = [sample for sample in load.samples if not sample.error]
    failed = [sample for sample in load.samples if sample.error]
    ids = {sample.request_id for sample in answered}
    assert len(ids) == len(answered), "the same id was given to two requests"

    without_line = [sample for sample in answered if sample.request_id not in logged]
    without_answer = set(logged) - ids
    rotated = [name for name in seen["files"] if not name.endswith(".log")]
    compressed = [name for name in rotated if name.endswith(".gz")]
    measured.append(
        f"{len(answered)} requests answered, {sum(logged.values())} access lines; {len(kills)} x kill -9 of an instance: {len(failed)}"
        f" requests failed ({by_error(failed)}), {len(without_answer)} of them have a line, {len(without_line)} answers have none;"
        f" {seen['lines']} lines in {len(seen['files'])} files, {len(compressed)} of them compressed"
    )

    def at_a_kill(sample) -> bool:
        end = sample.start + sample.seconds
        return any(kill["begun"] - LAST_MOMENT <= end <= kill["at"] + 2 for kill in kills)

    assert [sample for sample in without_line if not at_a_kill(sample)] == []
    assert len(without_line) <= 3 * len(kills), "that is more than a last moment"
    assert [name for name, count in logged.items() if count > 1] == [], "lines that stand there twice"
    assert len(without_answer) <= len(failed)
    flying = {id(sample) for kill in kills for sample in in_flight(load.samples, kill["at"], 0.2)}
    assert [sample for sample in failed if id(sample) not in flying] == []

    assert len(answered) > (10_000 if full else 1500), "too little for logs to be rotated"
    for instance in ("sample-0", "sample-1"):
        of_instance = [name for name in rotated if name.startswith(instance)]
        assert len(of_instance) >= 3, seen["files"]
        assert set(of_instance) - set(compressed) == {f"{instance}.log.1"}, "all are compressed but the newest"


def test_nothing_of_python_reaches_the_raw_log(host):
    """What stands there passed the logging by."""
    raw = host.run("sh", "-c", "cat /var/log/sample/*.raw.log*")
    assert raw == ""


def test_the_timer_keeps_to_itself(host):
    """It runs every two seconds here: the journal is told of none of it, and nothing went wrong."""
    assert [entry["MESSAGE"] for entry in host.journal("--unit=pygun-logrotate.service")] == []
    assert host.run("systemctl", "is-active", "pygun-logrotate.timer").strip() == "active"
    assert host.run("systemctl", "show", "pygun-logrotate.service", "--property=Result", "--value").strip() == "success"


def test_supervisord_holds_no_file_that_was_removed(host):
    """The space of a log that is gone must be free."""
    pid = host.run("systemctl", "show", "supervisord", "--property=MainPID", "--value").strip()
    held = host.run("sh", "-c", f"ls -l /proc/{pid}/fd")
    assert "/var/log/sample/sample-0.log\n" in held
    assert "/var/log/sample/sample-0.log." not in held
    assert "(deleted)" not in held
