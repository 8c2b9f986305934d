# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""SIGKILL to a worker and to an instance's master: what is lost, and how soon everything runs again."""

from __future__ import annotations

from rig.crashes import crash, everything_is_as_it_should_be, note
from rig.load import by_error, in_flight


def test_a_worker_that_is_killed_loses_only_what_it_had_in_flight(host, report):
    crashed, load = crash(host, "worker")
    report.figure("kill -9 of a worker", load, note(crashed), **crashed)
    lost, flying = load.failed(), in_flight(load.samples, crashed["at"], 0.5)
    assert lost, "nothing was in flight: this test has shown nothing"
    assert set(lost) <= set(flying), by_error(set(lost) - set(flying))
    assert crashed["ready"] - crashed["at"] < 60
    everything_is_as_it_should_be(host)


def test_a_master_that_is_killed_loses_nothing(host, report):
    crashed, load = crash(host, "master")
    report.figure("kill -9 of an instance's master", load, note(crashed), **crashed)
    assert load.failed() == [], "its workers must finish what they have"
    assert crashed["ready"] - crashed["at"] < 60
    everything_is_as_it_should_be(host)
