# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything on the host is changed in turn, and only its own processes are others afterwards."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from site_of_many import VARIABLES, Site, differences


# The scenario `lossless` rolls an app with gevent workers, and looks at its neighbour.
@pytest.mark.parametrize("app", [*(pytest.param(app, marks=pytest.mark.full) for app in ("hoard", "greeter")), "clock"])
def test_a_new_release_of_an_app_replaces_its_processes_alone(app: str, site: Site) -> None:
    before = site.settled()
    version = site.new_version(app)
    site.deploy(app)
    after = site.settled()
    assert differences(before, after) == {f"{app}-0", f"{app}-1"}
    assert site.ask(app)["version"] == version


@pytest.mark.full  # the scenario `default` runs everything a second time
def test_a_second_run_changes_nothing(site: Site) -> None:
    before = site.settled()
    again = site.deploy("clock")
    assert again.changed == 0, again.text
    assert differences(before, site.settled()) == set()


# what is not an app


PULSE = VARIABLES["supervisor_programs"][0]
WITNESS = VARIABLES["supervisor_listeners"][0]


def test_the_shell_script_runs_and_the_listener_hears_of_everything(site: Site) -> None:
    site.wait_for(lambda: "beat at " in site.run("supervisorctl", "tail", "pulse"), "the script's own words")
    assert re.search(r"^beat at \d\d:\d\d:\d\d$", site.run("supervisorctl", "tail", "pulse"), re.MULTILINE)
    site.run("supervisorctl", "restart", "clock:clock-1")
    heard = f"PROCESS_STATE_RUNNING processname:clock-1 groupname:clock from_state:STARTING pid:{site.settled()['clock-1'][0][0]}"
    site.wait_for(lambda: heard in site.run("supervisorctl", "tail", "-4000", "witness", "stderr"), heard)


@pytest.fixture(scope="module")
def many(site: Site) -> Iterator[Site]:
    """The host; what the tests did to its programs is undone after the last one."""
    yield site
    site.settings.clear()
    site.host()
    assert set(site.statuses()) == site.programs


def test_a_changed_program_is_restarted_alone(many: Site) -> None:
    before = many.settled()
    many.host(programs=[{**PULSE, "environment": {"COLOUR": "50 % blue"}}])
    after = many.settled()
    assert differences(before, after) == {"pulse"}
    (pid, _started), *_ = after["pulse"]
    assert "COLOUR=50 % blue" in many.run("cat", f"/proc/{pid}/environ").split("\0")
    nothing_changes_a_second_time(many)


@pytest.mark.full  # tests/component/programs has it beside a program that changes
def test_a_changed_listener_is_restarted_alone(many: Site) -> None:
    before = many.settled()
    many.host(listeners=[{**WITNESS, "events": ["PROCESS_STATE"]}])
    assert differences(before, many.settled()) == {"witness"}


def test_a_program_that_is_added_leaves_the_others_alone(many: Site) -> None:
    before = many.settled()
    sleeper = {"name": "sleeper", "command": "/bin/sleep infinity", "user": "nobody", "numprocs": 2}
    many.host(programs=[*many.settings.get("supervisor_programs", [PULSE]), sleeper])
    assert differences(before, many.settled()) == {"sleeper-0", "sleeper-1"}


def test_programs_and_listeners_that_are_removed_go_alone(many: Site) -> None:
    before = many.settled()
    many.host(programs=[], listeners=[])
    after = many.settled()
    gone = before.keys() - after.keys()
    assert {"pulse", "witness"} <= gone
    assert differences(before, after) == gone
    known = many.run("sh", "-c", "supervisorctl avail; ls /etc/supervisor/conf.d")
    assert "pulse" not in known and "witness" not in known
    nothing_changes_a_second_time(many)


def nothing_changes_a_second_time(site: Site) -> None:
    before = site.settled()
    again = site.host()
    assert again.changed == 0, again.text
    assert differences(before, site.settled()) == set()
