# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What interrupts a host happens to one after the other, each drained before, while callers go on."""

from __future__ import annotations

import subprocess
import time

from fleet import APP, Command, Fleet
from rig.host import Host
from rig.load import by_error
from rig.report import Report
from test_rollouts import none_failed

from tools import containers

OLDER = "4.2.5"
PORT = "5050"
#: What a fleet would be brought to; the older version takes the way that a newer one takes.
CHANGED = {"supervisor_version": OLDER, "flask_app_bind": f"0.0.0.0:{PORT}"}


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


def test_an_upgrade_of_supervisor_and_another_port_drain_each_host(fleet: Fleet, report: Report, rounds: int) -> None:
    """Two at once, to save time; one by one, as a user gets it unasked, in the long variant. Everything else here is about one."""
    before = {name: seen["supervisord"] for name, seen in fleet.observe().items()}
    with fleet.load("upgrade") as load, load.roll("upgrade"):
        done = fleet.run("upgrade", flask_app_serial=2 if rounds == 1 else 1, **CHANGED)
    report.figure("upgrade of supervisor, and another port, drained", load, f"{done.seconds:.0f} s")
    assert done.ok, done.text
    none_failed(load)
    after = {name: seen["supervisord"] for name, seen in fleet.observe().items()}
    assert not set(before.items()) & set(after.items()), "every supervisord was restarted"
    for name, host in fleet.hosts.items():
        assert host.run("/opt/pygun/supervisor/bin/supervisord", "--version").strip() == OLDER
        assert host.tell("listeners", APP, PORT), f"{name} does not listen on {PORT}"
    assert set(fleet.servers().values()) == {"UP"}


def test_a_planned_reboot_loses_nothing(fleet: Fleet, report: Report) -> None:
    name = fleet.names[0]
    before = fleet.pids()
    with fleet.load("planned") as load, load.roll("reboot"):
        playbook = fleet.start("upgrade", only=name, flask_app_reboot=True, **CHANGED)
        boot_again(fleet.hosts[name], playbook)
        done = playbook.end()
    report.figure("a planned reboot", load, f"{done.seconds:.0f} s")
    assert done.ok, done.text
    none_failed(load)
    after = fleet.pids()
    assert not set(before[name]) & set(after[name]), "it was rebooted"
    assert after | {name: []} == before | {name: []}, "the others were left alone"
    # A container that boots again has another address, and HAProxy asks for it anew every ten seconds.
    fleet.wait_for_servers(names=(name,))


def test_a_host_that_dies_costs_no_more_than_nobody_could_know(fleet: Fleet, report: Report) -> None:
    name = fleet.names[-1]
    host = fleet.hosts[name]
    with fleet.load("dead") as load:
        time.sleep(5)
        with load.roll("a host dies"):
            subprocess.run([host.engine, "kill", host.name], check=True, capture_output=True)
            died = time.time()
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


def boot_again(host: Host, playbook: Command, seconds: float = 300) -> None:
    """A container that reboots has ended: start it, as a machine does by itself."""
    deadline = time.monotonic() + seconds
    while containers.inspect(host.name)["State"]["Running"]:
        assert playbook.process.poll() is None, playbook.end().text
        assert time.monotonic() < deadline, "it does not reboot"
        time.sleep(0.5)
    subprocess.run([host.engine, "start", host.name], check=True, capture_output=True)
