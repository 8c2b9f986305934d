# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two deploys of one app at the same time: one wins, the other says so and has changed nothing."""

from __future__ import annotations

import pytest
from rig.deploys import Source
from rig.load import Load

HOLD = "/run/sample/hold"  # while it is there, an instance does not get ready
WAITS = f"""
import os, time
while os.path.exists({HOLD!r}) and "SUPERVISOR_PROCESS_NAME" in os.environ:
    time.sleep(0.1)"""


@pytest.fixture
def sources(scratch):
    return Source(scratch / "first").version("5.0.1"), Source(scratch / "second").version("5.0.2")


@pytest.mark.full  # component tests have two processes of the module
def test_a_deploy_that_meets_another_which_rolls_is_refused_and_changes_nothing(host, sample, report, sources):
    first, second = sources
    first.at_import(WAITS)
    host.run("touch", HOLD)
    with Load(host, "two-deploys") as load:
        rolling = host.telling("wait", "sample", "roll sample-0")
        winner = sample.start("deploy", first, boot_timeout=600)
        holder = rolling.answer()["pids"][0]
        during = host.observe("sample")
        loser = sample.run("deploy", second)
        after = host.observe("sample")
        host.run("rm", HOLD)
        won = winner.end()
    assert not loser.ok
    for words in (
        "Another deploy, restart or rollback of this app runs",
        f"pid {holder}",
        "Nothing was changed",
        "run this again",
    ):
        assert words in loser.message, loser.message[-1500:]
    assert after["current"] == during["current"]
    assert after["files"] == during["files"]
    assert after["state"] == during["state"], "the loser has left something in the memory of the app"
    assert won.ok, won.text
    seen = host.observe("sample")
    assert [one["release"] for one in seen["instances"]] == [seen["current"]] * 2
    assert (seen["leftovers"], seen["strangers"]) == ([], [])
    report.figure("two deploys at once, the second while the first rolls", load)
    assert load.totals["failed"] == 0
    assert "5.0.2" not in load.answered_by()
    assert "5.0.1" in load.answered_by()


@pytest.mark.full  # the same lock
def test_a_deploy_that_meets_another_which_builds_is_refused_or_waits_its_turn(host, sample, report, sources):
    first, second = sources
    first.version("5.1.1").at_import("# one")
    second.version("5.1.2").at_import("# two")
    with Load(host, "two-builds") as load:
        building = host.telling("wait", "sample", "build")
        one = sample.start("deploy", first)
        building.answer()
        other = sample.start("deploy", second)
        ends = [one.end(), other.end()]
    assert any(end.ok for end in ends), [end.text for end in ends]
    for end in ends:
        assert end.ok or ("Another " in end.message and "Nothing was changed" in end.message), end.text
    seen = host.observe("sample")
    assert [one["release"] for one in seen["instances"]] == [seen["current"]] * 2
    assert (seen["leftovers"], seen["strangers"]) == ([], [])
    report.figure("two deploys at once, the second while the first builds", load)
    assert load.totals["failed"] == 0
