# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""supervisord itself is restarted, killed and upgraded, and a program's configuration changed.

supervisord closes the socket that it holds then, and callers are refused until it opens it again; what that costs is
measured. With the socket held by systemd nobody is refused.
"""

from __future__ import annotations

import time

import pytest
import yaml
from rig.crashes import crash, everything_is_as_it_should_be, note
from rig.host import ROOT
from rig.load import Load, by_error

DEFAULTS = yaml.safe_load((ROOT / "roles" / "flask_app" / "defaults" / "main.yml").read_text())
SOCKETS = ["supervisor", "systemd"] if "flask_app_socket" in DEFAULTS else ["supervisor"]
OLDER, NEWER = (
    "4.2.5",
    yaml.safe_load((ROOT / "roles" / "supervisor" / "defaults" / "main.yml").read_text())["supervisor_version"],
)


@pytest.fixture(scope="module", params=SOCKETS)
def socket(request, host, sample):
    """Who holds the listening socket; the default again at the end."""
    if request.param != "supervisor":
        sample.settings["socket"] = request.param
        sample.deploy()
    yield request.param
    sample.settings.pop("socket", None)
    if request.param != "supervisor":
        sample.deploy()


def judge(socket: str, load: Load, report, what: str, begun: float, ended: float) -> None:
    lost = load.failed()
    assert load.samples[-1].start > ended - 1, "the load ended too early to show that everything answers again"
    gap = max((one.start + one.seconds for one in lost), default=0) - min((one.start for one in lost), default=0)
    report.figure(f"{what}, socket held by {socket}", load, f"failed within {gap:.1f} s" if lost else "", socket=socket)
    if socket == "systemd":
        assert lost == [], by_error(lost)
    outside = [one for one in lost if one.start + one.seconds < begun or one.start > ended]
    assert outside == [], f"failed before or after it: {by_error(outside)}"


def test_supervisord_is_restarted(socket, host, report, full):
    if socket == "supervisor" and not full:
        pytest.skip("costs no more than a kill, which costs all that arrives until it is back: PYGUN_FULL=1")
    with Load(host, f"restart-{socket}") as load, load.roll("systemctl restart supervisord"):
        begun = time.time()
        host.run("systemctl", "restart", "supervisord")
        host.tell("recovered", "sample")
        ended = time.time()
        time.sleep(3)
    judge(socket, load, report, "systemctl restart supervisord", begun, ended)


def test_supervisord_is_killed(socket, host, report, full):
    if socket == "supervisor" and not full:
        pytest.skip("requests under way are finished in tests/component/activation/test_orphans.py: PYGUN_FULL=1")
    crashed, load = crash(host, "supervisord")
    lost = load.failed()
    report.figure(f"kill -9 of supervisord, socket held by {socket}", load, note(crashed), socket=socket, **crashed)
    # A socket that supervisord held is gone until the next one opens it: nobody can connect. What was under way is answered.
    began = [one for one in lost if one.start < crashed["at"] - 0.5 and one.kind in ("slow", "stream", "upload")]
    assert began == [], by_error(began)
    assert all(one.start < crashed["ready"] for one in lost), "something failed after everything was ready again"
    if socket == "systemd":
        assert lost == [], by_error(lost)
    assert crashed["ready"] - crashed["at"] < 90
    everything_is_as_it_should_be(host)


@pytest.mark.full  # costs no more than a restart, and the scenario `fleet` upgrades as well
def test_supervisord_is_upgraded(socket, host, sample, report):
    sample.deploy(supervisor_version=OLDER)
    assert OLDER in host.run("/opt/pygun/supervisor/bin/supervisord", "--version")
    with Load(host, f"upgrade-{socket}") as load, load.roll("upgrade"):
        begun = time.time()
        sample.deploy()
        ended = time.time()
        time.sleep(3)
    assert NEWER in host.run("/opt/pygun/supervisor/bin/supervisord", "--version")
    judge(socket, load, report, f"supervisord upgraded from {OLDER} to {NEWER}", begun, ended)


def test_the_program_is_changed(socket, host, sample, report, full):
    if socket == "supervisor" and not full:
        pytest.skip("costs no more than a restart: PYGUN_FULL=1")
    before = {one["pid"] for one in host.observe("sample")["instances"]}
    with Load(host, f"program-{socket}") as load, load.roll("program"):
        begun = time.time()
        sample.deploy(log_backups=7)
        ended = time.time()
        time.sleep(3)
    assert not before & {one["pid"] for one in host.observe("sample")["instances"]}
    judge(socket, load, report, "the program's conf changed", begun, ended)
    if socket == "supervisor":
        sample.deploy()  # otherwise the change back to that does it
