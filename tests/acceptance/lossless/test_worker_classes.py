# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""gunicorn's own worker classes take part in the same rolls. What they lose is measured, not promised.

PYGUN_FULL=1 only: the scenario `many` rolls an app with sync workers, and the component tests those of the runtime.
"""

from __future__ import annotations

import pytest
from rig.load import Load

# A sync worker serves one connection at a time: as many workers as there are slow requests at once, and some.
CLASSES = {"sync": {"workers": 6}, "gthread": {"workers": 1, "threads": 16}}
LIGHT = ("--idle", "1", "--slow", "2", "--stream", "1", "--upload", "1", "--record-header", "X-App-Version")


pytestmark = pytest.mark.full


@pytest.mark.parametrize("worker_class", CLASSES)
def test_another_worker_class_rolls_as_well(worker_class, host, sample, report, full):
    settings = {"worker_class": worker_class, **CLASSES[worker_class]}
    sample.deploy(sample.source.reset().version("9.0.0"), **settings)
    rounds = 5 if full else 1
    with Load(host, worker_class, options=LIGHT) as load:
        for number in range(rounds):
            sample.source.version(f"9.1.{number}")
            with load.roll(f"deploy {number}"):
                sample.deploy(**settings)
            with load.roll(f"restart {number}"):
                done = sample.run("restart", **settings)
                assert done.ok, done.text
    report.figure(f"{worker_class} workers, {2 * rounds} rolls", load)
    seen = host.observe("sample")
    assert [one["release"] for one in seen["instances"]] == [seen["current"]] * 2
    assert seen["strangers"] == []
    assert f"9.1.{rounds - 1}" in load.answered_by()
    assert load.totals["failed"] < load.totals["sent"] / 20, "a roll must not be an outage"


def test_the_default_worker_class_comes_back(host, sample):
    sample.deploy(sample.source.reset().version("9.9.9"))
