# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Deploys, rolling restarts and rollbacks of every kind."""

from __future__ import annotations

import json
import time

from rig.load import HTTPBIN, VERSIONS, Load

SMALL_PACKAGE = "iniconfig==2.0.0"


def change(source, number: int) -> dict:
    """The next release: in turn other code, other packages, other settings of gunicorn. Returns the settings."""
    source.reset().version(f"2.0.{number}")
    if number % 3 == 1:
        source.require(SMALL_PACKAGE).at_import("import iniconfig")
    return {"keepalive": 6, "log_level": "warning"} if number % 3 == 2 else {}


def test_no_request_is_lost_by_deploys_restarts_and_rollbacks_and_the_neighbour_is_left_alone(
    host, sample, report, full
):
    rounds, deploys = (10, 2) if full else (1, 3)  # of each kind at least one
    deployed = 0
    neighbours = processes(host, "httpbin")
    neighbour = Load(host, "neighbour", "127.0.0.1:5001", HTTPBIN)
    with Load(host, "rolls", options=VERSIONS) as load, neighbour as other, other.roll("rolls"):
        time.sleep(60 if full else 5)  # what the figures during the rolls are compared with
        for number in range(rounds):
            for _ in range(deploys):
                settings = change(sample.source, deployed)
                what = ("code", "dependency", "pygun.py")[deployed % 3]
                with load.roll(f"deploy {deployed} ({what})"):
                    sample.deploy(**settings)
                deployed += 1
            newest = everything_runs_one_release(host)
            masters = {one["pid"] for one in host.observe("sample")["instances"]}

            with load.roll(f"restart {number}"):
                done = sample.run("restart")
            assert done.ok, done.text
            assert everything_runs_one_release(host) == newest
            assert not masters & {one["pid"] for one in host.observe("sample")["instances"]}, (
                "not everything was restarted"
            )

            with load.roll(f"rollback {number}"):
                done = sample.run("rollback")
            assert done.ok, done.text
            assert everything_runs_one_release(host) != newest

    report.figure(f"{deployed} deploys, {rounds} rolling restarts, {rounds} rollbacks", load)
    report.figure("the other app on the host meanwhile", other)
    report.kinds("rolls", load)
    assert processes(host, "httpbin") == neighbours
    assert other.totals["failed"] == 0
    assert load.totals["failed"] == 0, json.dumps(load.result["kinds"], indent=1)
    versions = {f"2.0.{number}" for number in range(deployed)}
    assert versions <= load.answered_by().keys(), "a release was deployed and never answered"
    assert len(load.result["rolls"]) == deployed + 2 * rounds
    for roll in load.result["rolls"]:
        assert roll["sent"] > 0, f"nothing was sent during {roll['label']}"


def processes(host, app: str) -> list:
    return [(one["name"], one["pid"], one["workers"]) for one in host.observe(app)["instances"]]


def everything_runs_one_release(host) -> str:
    seen = host.observe("sample")
    assert [one["release"] for one in seen["instances"]] == [seen["current"]] * 2, seen["instances"]
    assert seen["leftovers"] == []
    assert seen["strangers"] == []
    return seen["current"]
