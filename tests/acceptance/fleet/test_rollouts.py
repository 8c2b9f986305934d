# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A release goes to one host, then to the others, and comes back, while callers go on."""

from __future__ import annotations

import re
import time

import pytest
from fleet import APP, Fleet
from rig.load import Load
from rig.report import Report


def none_failed(load: Load) -> None:
    assert load.totals["failed"] == 0, load.failed()[:5]


def history(fleet: Fleet) -> dict[str, list[dict]]:
    return {name: seen["state"]["history"] for name, seen in fleet.observe().items()}


MIGRATED = "/srv/sample/shared/migrated"
#: Runs on one host for all, and leaves what its second command prints as it was: a rollback may go back across it.
MIGRATION = {
    "flask_app_release_command": [["sh", "-c", f"echo migrated >> {MIGRATED}"]],
    "flask_app_release_command_state": "echo revision 7",
}


def test_a_deploy_rolls_over_the_fleet_and_a_rollback_over_it_again(fleet: Fleet, report: Report, rounds: int) -> None:
    for _ in range(rounds):
        before = fleet.releases()
        with fleet.load("deploy") as load:
            with load.roll("deploy"):
                done = fleet.deploy("2.0.0", **MIGRATION)
            after = fleet.releases()
            ran = [
                host.run("sh", "-c", f"cat {MIGRATED}; rm -f {MIGRATED}", check=False) for host in fleet.hosts.values()
            ]
            with load.roll("rollback"):
                back = fleet.run("rollback")
        report.figure("deploy to all hosts, rollback of all", load, f"{done.seconds:.0f} s and {back.seconds:.0f} s")
        none_failed(load)
        assert ran == ["migrated\n", "", ""][: len(ran)], "the release command ran on the canary, once for all"
        assert len(set(after.values())) == 1, "one release id everywhere"
        assert set(after.values()) != set(before.values())
        assert len({entries[-2]["rollout"] for entries in history(fleet).values()}) == 1, "one run is one rollout"
        assert back.ok, back.text
        assert fleet.releases() == before
        canary, *others = (entries[-2]["at"] for entries in history(fleet).values())
        assert all(canary < moment for moment in others), "the canary was not the first"


@pytest.mark.full  # one that fails on two hosts at a time is in tests/component/rollout/test_release_command.py
def test_a_release_command_that_fails_on_the_canary_leaves_all_hosts_untouched(fleet: Fleet) -> None:
    releases, pids = fleet.releases(), fleet.pids()
    fleet.source.reset().version("3.0.0")
    stopped = fleet.run("deploy", flask_app_release_command="sh -c 'echo no such table; exit 1'")
    assert not stopped.ok
    assert "no such table" in stopped.message
    assert (fleet.releases(), fleet.pids()) == (releases, pids), "its release command fails before anything is touched"


def test_a_canary_that_fails_leaves_the_other_hosts_untouched(fleet: Fleet, report: Report) -> None:
    releases, pids = fleet.releases(), fleet.pids()
    fleet.source.reset().version("3.0.0").in_health("raise RuntimeError('the canary is ill')")
    with fleet.load("canary") as load, load.roll("bad deploy"):
        done = fleet.run("deploy")
    report.figure("a canary that fails", load, f"{done.seconds:.0f} s")
    none_failed(load)
    canary, *others = fleet.names
    assert not done.ok
    assert f"sample was not deployed to {canary}" in done.message
    assert f"- {', '.join(fleet.names)}: the old release {releases[canary]}" in done.message
    assert fleet.releases() == releases
    after = fleet.pids()
    assert {name: after[name] for name in others} == {name: pids[name] for name in others}
    assert "3.0.0" not in load.answered_by()


def test_a_rollout_that_stopped_half_way_is_told_and_undone(fleet: Fleet, report: Report) -> None:
    before = fleet.releases()
    canary, *others = fleet.names
    fleet.source.reset().version("4.0.0")
    with fleet.load("undone") as load:
        with load.roll("deploy that is cut off after the canary"):
            cut_off(fleet, "PLAY [Deploy the app]")
        midway = fleet.releases()
        told = fleet.run("status")
        with load.roll("rollback"):
            back = fleet.run("rollback")
    report.figure("a rollout that was cut off after the canary, undone", load, f"{back.seconds:.0f} s")
    none_failed(load)
    assert midway[canary] != before[canary], "the canary had the new release"
    assert {name: midway[name] for name in others} == {name: before[name] for name in others}
    assert told.ok, told.text
    assert (
        f"{APP} is not the same everywhere: {midway[canary][:8]} on {canary}; {before[canary][:8]} on {', '.join(others)}."
        in told.message
    )
    assert back.ok, back.text
    assert fleet.releases() == before, "only the canary went back"


def test_a_rollout_whose_control_node_dies_is_continued(fleet: Fleet, report: Report) -> None:
    """Killed while the other hosts are being changed: what became of each is nobody's promise, but nobody may lose a request."""
    before = fleet.releases()
    canary = fleet.names[0]
    fleet.source.reset().version("4.1.0")
    with fleet.load("killed") as load:
        with load.roll("deploy that is cut off"):
            cut_off(fleet, f"Activate the release of {APP}]")
        with load.roll("deploy again"):
            done = fleet.run("deploy")
    report.figure("the control node dies in the middle of a rollout; deployed again", load, f"{done.seconds:.0f} s")
    none_failed(load)
    assert done.ok, done.text
    (new,) = set(fleet.releases().values())
    assert new != before[canary]
    assert re.search(rf"{canary} +: .*changed=0 ", done.text), "the canary was left alone"


@pytest.mark.full  # which hosts go back is decided as in the test of the rollout that stopped half way
def test_a_rollback_that_was_cut_off_is_continued(fleet: Fleet, report: Report) -> None:
    new, last = fleet.releases(), fleet.names[-1]
    with fleet.load("half-a-rollback") as load:
        with load.roll("rollback of one host"):
            part = fleet.run("rollback", only=last)
        midway = fleet.releases()
        with load.roll("rollback"):
            done = fleet.run("rollback")
    report.figure("a rollback that was cut off, continued", load, f"{part.seconds:.0f} s and {done.seconds:.0f} s")
    none_failed(load)
    assert part.ok, part.text
    assert done.ok, done.text
    assert midway[last] != new[last]
    assert fleet.releases() == dict.fromkeys(fleet.names, midway[last]), "nobody went one further"
    assert f"- {', '.join(fleet.names)}: release {midway[last]}" in done.message


def cut_off(fleet: Fleet, said: str) -> None:
    """Kill the control node when the playbook says this for the second time: once for the canary, once for the others."""
    playbook = fleet.start("deploy")
    try:
        while playbook.log.read_text().count(said) < 2:
            assert playbook.process.poll() is None, playbook.log.read_text()
            assert time.monotonic() < playbook.begun + 900
            time.sleep(0.1)
    finally:
        playbook.kill()
    for host in fleet.hosts.values():  # a transaction that had begun there goes on without the control node
        host.tell("wait-end", APP)
