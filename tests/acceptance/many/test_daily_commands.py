# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an operator does every day, with the playbooks and with supervisorctl on the host. The rest of the host never notices."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator

import pytest
from rig.host import ROOT
from site_of_many import INVENTORY, Run, Site, differences

APP = {"flask_app_name": "greeter"}
OURS = {"greeter-0", "greeter-1"}
GROUP = {*OURS, "greeter-2"}  # with the process that holds the socket


@pytest.fixture(autouse=True)
def everything_serves_again(site: Site) -> Iterator[None]:
    """Whatever a test has stopped."""
    yield
    if set(site.statuses().values()) != {"RUNNING"}:
        site.run("sh", "-c", "systemctl start supervisord; sleep 1; supervisorctl start all", check=False)
        site.settled()


def run(site: Site, playbook: str, **settings: object) -> bool:
    """Run one of the playbooks; whether it changed something."""
    done = site.playbook(f"playbooks/{playbook}.yml", {**APP, **settings})
    assert done.ok, done.text
    return done.changed > 0


def status(site: Site, **settings: object) -> tuple[Run, dict]:
    """What status.yml says: its run, and its report as data."""
    file = site.scratch / "status.json"
    done = site.playbook("playbooks/status.yml", {"status_file": str(file), **settings})
    return done, json.loads(file.read_text())


def ctl(site: Site, *words: str) -> str:
    return site.run("supervisorctl", *words)


# stop and start


def test_the_playbooks_stop_and_start_an_app(site: Site) -> None:
    before = site.settled()
    assert run(site, "stop")
    assert not site.answers("greeter")
    assert differences(before, site.processes()) == GROUP
    stopped = {name: state for name, state in site.statuses().items() if state != "RUNNING"}
    assert stopped == {f"greeter:{name}": "STOPPED" for name in GROUP}
    assert not run(site, "stop"), "it was stopped already"
    done, report = status(site)
    assert not done.ok, done.text
    assert "Not as it should be" in done.text
    problems = report["hosts"]["host"]["problems"]
    assert problems and all("greeter" in one["subject"] + one["what"] for one in problems), problems
    assert status(site, flask_app_name="hoard")[0].ok, "nothing is wrong with another app"

    assert run(site, "start")
    assert site.answers("greeter"), "start.yml comes back when the app answers"
    after = site.settled()
    assert differences(before, after) == GROUP
    assert not run(site, "start"), "it was started already"
    assert differences(after, site.processes()) == set()


@pytest.mark.full
def test_supervisorctl_stops_and_starts_an_app(site: Site) -> None:
    before = site.settled()
    ctl(site, "stop", "greeter:*")
    assert not site.answers("greeter")
    assert differences(before, site.processes()) == GROUP
    ctl(site, "start", "greeter:*")
    assert differences(before, site.settled()) == GROUP
    assert site.answers("greeter")


# restart


@pytest.mark.full  # `lossless` does it under load, and the next test to one instance
def test_the_playbook_restarts_an_app(site: Site) -> None:
    before = site.settled()
    assert run(site, "restart")
    assert differences(before, site.settled()) == OURS


def test_the_playbook_restarts_one_instance(site: Site) -> None:
    before = site.settled()
    assert run(site, "restart", flask_app_instance="greeter-1")
    assert differences(before, site.settled()) == {"greeter-1"}


@pytest.mark.full
def test_supervisorctl_restarts_one_instance(site: Site) -> None:
    before = site.settled()
    ctl(site, "restart", "greeter:greeter-0")
    assert differences(before, site.settled()) == {"greeter-0"}


def test_the_playbook_restarts_an_app_that_does_not_want_to_end(site: Site) -> None:
    """Its masters hear no signal but SIGKILL; without force this takes as long as the graceful timeout."""
    before = site.settled()
    masters = [str(before[name][0][0]) for name in sorted(OURS)]
    site.run("kill", "-STOP", *masters)
    done = site.playbook("playbooks/restart.yml", {**APP, "flask_app_force": True})
    assert done.ok, done.text
    assert "by force: requests that were in flight got no answer" in done.message
    assert differences(before, site.settled()) == OURS
    assert site.answers("greeter")


@pytest.mark.full
def test_supervisorctl_restarts_an_app_by_force(site: Site) -> None:
    before = site.settled()
    for killed, name in enumerate(sorted(OURS), 1):
        ctl(site, "signal", "KILL", f"greeter:{name}")
        site.wait_for(lambda: len(differences(before, site.processes()) & OURS) == killed, f"the successor of {name}")  # noqa: B023
    assert differences(before, site.settled()) == OURS
    assert site.answers("greeter")


def test_masters_that_are_killed_in_one_moment_do_not_take_supervisord_with_them(site: Site) -> None:
    """Their workers still have the socket then: supervisord could not open it again, and would end with an exception."""
    before, supervisord = site.settled(), site.run("systemctl", "show", "--property=MainPID", "supervisord")
    site.run("kill", "-KILL", *(str(before[name][0][0]) for name in sorted(OURS)))
    site.wait_for(lambda: differences(before, site.processes()) == OURS, "the successors of all masters")
    assert differences(before, site.settled()) == OURS
    assert site.answers("greeter")
    assert site.run("systemctl", "show", "--property=MainPID", "supervisord") == supervisord


# status and tail


def test_the_playbook_shows_everything_on_the_host(site: Site) -> None:
    site.settled()
    done, report = status(site)
    assert done.ok, done.text
    assert report["ok"] and not report["hosts"]["host"]["problems"]
    assert "Everything is as it should be." in done.text
    assert "web page http://127.0.0.1:9001" in done.text
    for app in ("hoard", "greeter", "clock"):
        assert re.search(rf"^host +{app} +[0-9a-f]{{8}} .* 2/2 ready ", done.text, re.MULTILINE), done.text
    for program in ("supervisord", "pulse", "witness"):
        assert re.search(rf"^host +{program} +RUNNING ", done.text, re.MULTILINE), done.text


def test_supervisorctl_shows_the_status(site: Site) -> None:
    shown = ctl(site, "status", "greeter:*")
    assert [line.split()[:2] for line in shown.splitlines()] == [
        ["greeter:greeter-0", "RUNNING"],
        ["greeter:greeter-1", "RUNNING"],
        ["greeter:greeter-2", "RUNNING"],
    ]
    site.run("supervisorctl", "stop", "greeter:greeter-0")
    assert "STOPPED" in site.run("supervisorctl", "status", "greeter:*", check=False)


def test_supervisorctl_shows_the_end_of_a_log(site: Site) -> None:
    site.ask_each("greeter", "for-the-tail")
    for instance in sorted(OURS):
        assert "for-the-tail" in ctl(site, "tail", "-4000", f"greeter:{instance}")


def test_the_playbook_shows_the_end_of_the_logs(site: Site) -> None:
    site.ask_each("greeter", "for-the-playbook")
    done = site.playbook("playbooks/logs.yml", {**APP, "logs_lines": 40})
    assert done.ok, done.text
    assert "for-the-playbook" in done.text
    for instance in sorted(OURS):
        assert instance in done.text


# reload


def test_a_reload_of_the_unit_takes_in_what_is_new_and_touches_nothing_else(site: Site) -> None:
    before = site.settled()
    site.run("systemctl", "reload", "supervisord")
    assert differences(before, site.settled()) == set()
    conf = "/etc/supervisor/conf.d/by-hand.conf"
    site.run("sh", "-c", f"printf '[program:by-hand]\\ncommand=/bin/sleep infinity\\n' > {conf}")
    try:
        site.run("systemctl", "reload", "supervisord")
        site.wait_for(lambda: site.statuses().get("by-hand") == "RUNNING", "the new program")
        assert differences(before, site.settled()) == {"by-hand"}
    finally:
        site.run("rm", conf)
        ctl(site, "update")
    assert differences(before, site.settled()) == set()


# shutdown


def the_unit(site: Site, state: str) -> None:
    """The guide's way for all hosts at once."""
    command = ["ansible", "containers", "-i", str(INVENTORY), "--become", "-m", "ansible.builtin.systemd_service"]
    subprocess.run(
        [*command, "-a", f"name=supervisord state={state}"], cwd=ROOT, check=True, capture_output=True, timeout=120
    )


@pytest.mark.parametrize("way", ["the playbooks' way", pytest.param("supervisorctl", marks=pytest.mark.full)])
def test_after_a_shutdown_nothing_runs_until_the_unit_is_started(way: str, site: Site) -> None:
    before = site.settled()
    if way == "supervisorctl":
        ctl(site, "shutdown")
    else:
        the_unit(site, "stopped")
    site.wait_for(lambda: "supervisord.service" not in site.processes(), "the end of supervisord")
    left = site.processes()
    assert not [name for name in left if not name.endswith(".service")], left
    assert not site.answers("greeter")
    the_unit(site, "started")
    site.wait_for(lambda: site.statuses().keys() == site.programs, "supervisord")
    after = site.settled()
    assert before.keys() == after.keys()
    assert site.answers("greeter") and site.answers("hoard") and site.answers("clock")


def test_after_a_reboot_everything_is_back(site: Site) -> None:
    """Also what was stopped: to stay stopped, an app must not be on the host."""
    before = site.settled()
    ctl(site, "stop", "greeter:*")
    site.reboot()
    site.wait_for(lambda: set(site.statuses().values()) == {"RUNNING"}, "the programs", 60)
    after = site.settled()
    supervised = {name for name in before if not name.endswith(".service")}
    assert supervised <= after.keys()
    assert differences(before, after) >= supervised
    assert site.answers("greeter") and site.answers("hoard") and site.answers("clock")
