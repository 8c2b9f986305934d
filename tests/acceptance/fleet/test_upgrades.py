# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What interrupts a host happens to one after the other, each drained before, while callers go on."""

from __future__ import annotations

import subprocess
import time

from fleet import APP, Fleet
from rig.load import by_error
from rig.report import Report
from test_rollouts import none_failed

OLDER = "4.2.5"


def versions(fleet: Fleet) -> set[str]:
    return {host.run("/opt/pygun/supervisor/bin/supervisord", "--version").strip() for host in fleet.hosts.values()}


def test_an_upgrade_of_supervisor_drains_each_host(fleet: Fleet, report: Report) -> None:
    """There and back: the older version takes the way that the newer one takes."""
    before = {name: seen["supervisord"] for name, seen in fleet.observe().items()}
    with fleet.load("upgrade") as load, load.roll("upgrade of supervisor"):
        done = fleet.run("upgrade", supervisor_version=OLDER)
    report.figure("upgrade of supervisor with drain", load, f"{done.seconds:.0f} s")
    assert done.ok, done.text
    assert versions(fleet) == {OLDER}
    after = {name: seen["supervisord"] for name, seen in fleet.observe().items()}
    assert not set(before.items()) & set(after.items()), "every supervisord was restarted"
    none_failed(load)
    assert {fleet.servers()[name] for name in fleet.names} == {"UP"}


def test_another_port_reaches_the_hosts_and_the_balancer_one_by_one(fleet: Fleet, report: Report) -> None:
    with fleet.load("port") as load:
        with load.roll("another port"):
            done = fleet.run("upgrade", supervisor_version=OLDER, flask_app_bind="0.0.0.0:5050")
    report.figure("another port of the app, host by host", load, f"{done.seconds:.0f} s")
    assert done.ok, done.text
    none_failed(load)
    assert {host.tell("listeners", APP, "5050") != {} for host in fleet.hosts.values()} == {True}
    back = fleet.run("upgrade")  # and supervisor as it was
    assert back.ok, back.text


def test_a_host_that_does_not_pass_stays_drained_and_the_others_are_left_alone(fleet: Fleet, report: Report) -> None:
    first, *others = fleet.names
    pids = fleet.pids()
    fleet.source.reset().version("5.0.0").in_health("raise RuntimeError('ill')")
    with fleet.load("bad-upgrade") as load, load.roll("an upgrade that fails"):
        done = fleet.run("upgrade")
    report.figure("an upgrade that fails on the first host", load, f"{done.seconds:.0f} s")
    none_failed(load)
    assert not done.ok
    assert f"{first} was not changed to its end" in done.message
    assert f"Not begun: {', '.join(others)}." in done.message
    assert fleet.servers()[first] == "DRAIN"
    assert all(fleet.servers()[name] == "UP" for name in others)
    assert {name: fleet.pids()[name] for name in others} == {name: pids[name] for name in others}
    fleet.source.reset().version("1.0.0")
    assert fleet.order(first, "ready").ok


def test_a_planned_reboot_loses_nothing(fleet: Fleet, report: Report) -> None:
    """The host is drained, its container is restarted as a reboot is to a machine, and it is returned."""
    name = fleet.names[0]
    host = fleet.hosts[name]
    with fleet.load("planned") as load:
        with load.roll("reboot"):
            assert fleet.order(name, "drained").ok
            host.reboot()
            host.tell("recovered", APP)
            returned = fleet.order(name, "ready", timeout=120)
        time.sleep(2)
    report.figure("a planned reboot", load)
    assert returned.ok, returned.text
    none_failed(load)


def test_a_host_that_dies_costs_no_more_than_nobody_could_know(fleet: Fleet, report: Report) -> None:
    name = fleet.names[-1]
    host = fleet.hosts[name]
    with fleet.load("dead") as load:
        time.sleep(5)
        died = time.time()
        with load.roll("a host dies"):
            subprocess.run([host.engine, "kill", host.name], check=True, capture_output=True)
            deadline = time.monotonic() + 60
            while not fleet.servers()[name].startswith("DOWN"):
                assert time.monotonic() < deadline, fleet.servers()
                time.sleep(0.2)
            noticed = time.time() - died
            time.sleep(5)
        with load.roll("it comes back"):
            subprocess.run([host.engine, "start", host.name], check=True, capture_output=True)
            host.tell("recovered", APP)
            fleet.wait_for_servers(names=(name,), seconds=120)
            time.sleep(2)
    failed = load.failed()
    report.figure("a host dies", load, f"out of rotation after {noticed:.1f} s")
    # What was on its way to that host then: begun before it died, or sent to it in the moment of its death.
    late = [one for one in failed if one.start > died + 1]
    assert not late, f"{by_error(late)}: {late[:5]}"
    assert len(failed) <= 16, by_error(failed)
