# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The balancer itself: it drains, it reloads, it speaks TLS, and it tells the app who called."""

from __future__ import annotations

import time

from fleet import Fleet
from rig.report import Report


def test_a_host_is_drained_and_returned_without_losing_a_request(fleet: Fleet, report: Report, rounds: int) -> None:
    with fleet.load("drain") as load:
        for _ in range(2 * rounds):
            for name in fleet.names[:2]:
                with load.roll(f"drain {name}"):
                    drained = fleet.order(name, "drained")
                assert drained.ok, drained.text
                assert fleet.servers()[name] == "DRAIN"
                connections = fleet.hosts[name].run("ss", "-Htn", "state", "established", "sport", "=", ":5000")
                with load.roll(f"restart {name}"):  # nothing is on its way there: this may be as rude as it likes
                    fleet.hosts[name].run("systemctl", "kill", "--signal=KILL", "supervisord")
                    fleet.hosts[name].tell("recovered", "sample")
                with load.roll(f"return {name}"):
                    returned = fleet.order(name, "ready")
                assert returned.ok, returned.text
                assert fleet.servers()[name] == "UP"
                assert "CHANGED" not in fleet.order(name, "ready").text
    report.figure("a host is drained, killed and returned", load, f"{len(connections.splitlines())} connections left")
    assert load.totals["failed"] == 0, load.failed()[:5]


def test_a_reload_drops_nothing_and_keeps_a_drained_host_drained(fleet: Fleet, report: Report, rounds: int) -> None:
    drained, other = fleet.names[:2]
    assert fleet.order(drained, "drained").ok
    try:
        with fleet.load("reload") as load:
            for _ in range(4 * rounds):
                time.sleep(2)
                with load.roll("reload"):
                    fleet.balancer.run("systemctl", "reload", "haproxy")
                    time.sleep(1)
                assert fleet.servers()[drained] == "DRAIN"
    finally:
        assert fleet.order(drained, "ready").ok
    report.figure("HAProxy is reloaded", load)
    assert load.totals["failed"] == 0, load.failed()[:5]
    assert fleet.servers()[other] == "UP"
