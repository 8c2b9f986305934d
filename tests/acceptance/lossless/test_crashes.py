# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""SIGKILL to a worker, to an instance's master, to supervisord: what is lost, and how soon everything runs again."""

from __future__ import annotations

import time

import pytest
from rig.load import Load, by_error, in_flight

PORT = "5000"


@pytest.fixture(scope="module", autouse=True)
def default(host, sample):
    sample.deploy(sample.source.reset().version("7.0.0"))


def crash(host, what: str) -> tuple[dict, Load]:
    with Load(host, f"crash-{what}") as load:
        time.sleep(4)  # every kind is in flight
        with load.roll(what):
            crashed = host.tell("kill", "sample", what)
        time.sleep(4)
    return crashed, load


def everything_is_as_it_should_be(host) -> None:
    """Nothing of the killed one is left; above all nobody but the present processes holds the port."""
    deadline = time.monotonic() + 60
    while True:  # what drains may take as long as its requests
        seen = host.observe("sample")
        known = {seen["supervisord"]} | {pid for one in seen["instances"] for pid in (one["pid"], *one["workers"])}
        sockets = host.tell("listeners", "sample", PORT)
        if (
            len(sockets) == 1 and set(*sockets.values()) <= known and not seen["strangers"]
        ) or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert len(sockets) == 1, sockets
    assert set(*sockets.values()) <= known, f"{sockets} are held by others than {known}"
    assert seen["strangers"] == []
    assert len(seen["instances"]) == 2
    assert set(seen["statuses"].values()) == {"RUNNING"}


def note(crashed: dict) -> str:
    return f"all ready after {crashed['ready'] - crashed['at']:.2f} s, RUNNING after {crashed['running'] - crashed['at']:.1f} s"


def test_a_worker_that_is_killed_loses_only_what_it_had_in_flight(host, report):
    crashed, load = crash(host, "worker")
    report.figure("kill -9 of a worker", load, note(crashed), **crashed)
    lost, flying = load.failed(), in_flight(load.samples, crashed["at"])
    assert lost, "nothing was in flight: this test has shown nothing"
    assert set(lost) <= set(flying), by_error(set(lost) - set(flying))
    assert crashed["ready"] - crashed["at"] < 15
    everything_is_as_it_should_be(host)


def test_a_master_that_is_killed_loses_nothing(host, report):
    crashed, load = crash(host, "master")
    report.figure("kill -9 of an instance's master", load, note(crashed), **crashed)
    assert load.failed() == [], "its workers must finish what they have"
    assert crashed["ready"] - crashed["at"] < 20
    everything_is_as_it_should_be(host)


def test_a_supervisord_that_is_killed_comes_back_and_loses_nothing_that_was_in_flight(host, report):
    crashed, load = crash(host, "supervisord")
    lost = load.failed()
    report.figure("kill -9 of supervisord", load, note(crashed), **crashed)
    # supervisord's socket is gone until the next one opens it: nobody can connect, but what was under way is answered.
    began = [one for one in lost if one.start < crashed["at"] - 0.05 and one.kind in ("slow", "stream", "upload")]
    assert began == [], by_error(began)
    assert all(one.start < crashed["ready"] for one in lost), "something failed after everything was ready again"
    assert crashed["ready"] - crashed["at"] < 30
    everything_is_as_it_should_be(host)
