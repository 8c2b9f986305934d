# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything goes from the balancer and from a host behind it: they are what they were before, and may begin again."""

from __future__ import annotations

import re

import pytest
from fleet import APP, Fleet
from rig.deploys import Run

# The hosts start as a snapshot of one that has another app as well.
EVERYTHING = {"uninstall_everything": True, "uninstall_apps": f"{APP},httpbin", "uninstall_data": True}


def gone(done: Run) -> list[str]:
    """The lines of the diff: what goes."""
    assert done.ok, done.text
    return re.findall(r"^-(?!--)(.+)", done.text, re.MULTILINE)


@pytest.mark.parametrize("kind", ["balancer", pytest.param("app host", marks=pytest.mark.full)])  # `offline` has one
def test_everything_goes_and_the_host_is_as_it_was(whole_fleet: Fleet, kind: str) -> None:
    name = "balancer" if kind == "balancer" else whole_fleet.names[-1]
    host = whole_fleet.balancer if kind == "balancer" else whole_fleet.hosts[name]
    predicted = gone(whole_fleet.run("uninstall", "--check", "--diff", only=name, **EVERYTHING))
    done = whole_fleet.run("uninstall", "--diff", only=name, **EVERYTHING)
    assert gone(done) == predicted
    assert predicted
    packages = re.search(r"Packages of the distribution stay: ([^.]+)\.", done.message)
    assert packages, done.text
    with whole_fleet.bare_host(packages[1].split(", ")) as bare:
        before, after = bare.listing(), host.listing()
    assert after == before, f"new: {sorted(after - before)}\nmissing: {sorted(before - after)}"
    assert gone(whole_fleet.run("uninstall", "--diff", only=name, **EVERYTHING)) == []


def test_haproxy_of_the_distribution_runs_on_and_listens_nowhere(whole_fleet: Fleet) -> None:
    balancer = whole_fleet.balancer
    assert balancer.run("systemctl", "is-active", "haproxy").strip() == "active"
    assert balancer.run("systemctl", "is-enabled", "haproxy").strip() == "enabled"
    assert balancer.run("ss", "-Hltn") == ""
    assert balancer.run("systemctl", "show", "--property=DropInPaths,NeedDaemonReload", "haproxy").split() == [
        "DropInPaths=",
        "NeedDaemonReload=no",
    ]


def test_a_check_on_a_host_without_haproxy_goes_to_its_end(whole_fleet: Fleet) -> None:
    whole_fleet.balancer.run("apt-get", "purge", "--yes", "haproxy")
    check = whole_fleet.run("balancer", "--check")
    assert check.ok, check.text
    for task in (
        "Install HAProxy",
        "Back up the package's configuration",
        "Write the certificates and the configuration",
        "Reload HAProxy",
    ):
        assert re.search(rf"{task}[^]]*\] \*+\nchanged:", check.text), check.text
