# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host loses its power in the middle of a deploy."""

from __future__ import annotations

import os

import pytest
from rig.load import Load

# Others are over before a machine could be told to go down: tests/component/activation/test_reboot.py stops at each.
STEPS = ["roll sample-0", "roll sample-1"] if os.environ.get("PYGUN_FULL") else ["roll sample-1"]


@pytest.mark.parametrize("step", STEPS)
def test_a_host_that_loses_power_during_a_deploy_comes_back_with_a_verified_release(step, host, sample):
    before = host.observe("sample")
    sample.source.reset().version(f"5.5.{STEPS.index(step)}").at_import("import time; time.sleep(2)")
    moment = host.telling("wait", "sample", step)
    playbook = sample.start("deploy")
    moment.answer()
    host.reboot()
    assert not playbook.end().ok

    host.tell("recovered", "sample")
    seen = host.observe("sample")
    assert seen["current"] == before["current"]
    assert [one["release"] for one in seen["instances"]] == [seen["current"]] * 2

    with Load(host, f"after-reboot-{STEPS.index(step)}") as load:
        done = sample.run("deploy")
    assert done.ok, done.text
    assert load.totals["failed"] == 0
    after = host.observe("sample")
    assert after["current"] != before["current"]
    assert [one["release"] for one in after["instances"]] == [after["current"]] * 2
    assert (after["leftovers"], after["strangers"]) == ([], [])
