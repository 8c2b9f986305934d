# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A deploy that is killed: the service goes on answering, and the next run completes it."""

from __future__ import annotations

import json
import os

import pytest
from rig.load import Load

FULL = bool(os.environ.get("PYGUN_FULL"))
# What the journal calls the steps, and the build, which comes before there is a journal.
STEPS = ["build", "files", "roll sample-0", "roll sample-1", "verify", "commit"]
BOOT = "import time; time.sleep(2)"  # so that a kill meets an instance that is booting


@pytest.fixture(scope="module")
def load(host, report):
    with Load(host, "interruptions") as load:
        yield load
    report.figure(f"{len(load.result['rolls'])} deploys killed, each then completed", load)
    assert load.totals["failed"] == 0, json.dumps(load.result["kinds"], indent=1)


def is_complete(host, baseline: str) -> None:
    """The service runs another release than before, and nothing is left of the run that was killed."""
    seen = host.observe("sample")
    release = seen["current"]
    assert release != baseline
    assert seen["state"]["history"][-1]["release"] == release
    assert [(one["release"], bool(one["ready"])) for one in seen["instances"]] == [(release, True)] * 2, seen[
        "instances"
    ]
    assert (seen["leftovers"], seen["strangers"]) == ([], [])
    assert set(seen["statuses"].values()) == {"RUNNING"}


def serves_a_verified_release(host, baseline: str) -> None:
    """At most one instance is on its way; what a crash or a reboot comes back with has passed its gate."""
    seen = host.observe("sample")
    assert any(one["ready"] for one in seen["instances"]), seen["instances"]
    if seen["current"] != baseline:  # killed while it committed, after every instance had passed
        assert [(one["release"], bool(one["ready"])) for one in seen["instances"]] == [(seen["current"], True)] * 2


def kill_a_deploy(host, sample, step: str, version: str) -> str:
    """Deploy, with a kill at that step; the release that served before.

    A commit is over in milliseconds, and on a busy machine may not be seen: then the next version is deployed.
    """
    killer = host.telling("kill-module", "sample", step)
    for attempt in range(5):
        baseline = host.observe("sample")["current"]
        sample.source.version(f"{version}.{attempt}")
        done = sample.run("deploy")
        if not done.ok:
            assert killer.answer()["killed"], f"not killed at {step}: {done.text}"
            return baseline
    killer.process.kill()
    raise AssertionError(f"the kill at {step} was not noticed")


def test_one_deploy_killed_at_step_after_step_is_completed_by_the_run_after_the_last_kill(host, sample, load):
    sample.source.reset().at_import(BOOT)
    with load.roll("killed again and again"):
        for step in ("build", "roll sample-0", "roll sample-1", "commit") if FULL else ("build", "roll sample-1"):
            baseline = kill_a_deploy(host, sample, step, "4.1")
            serves_a_verified_release(host, baseline)
        done = sample.run("deploy")
    assert done.ok, done.text
    is_complete(host, baseline)
    assert load.failed() == []


@pytest.mark.skipif(not FULL, reason="each step alone: PYGUN_FULL=1")
@pytest.mark.parametrize("step", STEPS)
def test_a_deploy_whose_module_is_killed_is_completed_by_the_next(step, host, sample, load):
    sample.source.reset().at_import(BOOT)
    with load.roll(f"killed at {step}"):
        baseline = kill_a_deploy(host, sample, step, f"4.2.{STEPS.index(step)}")
        serves_a_verified_release(host, baseline)
        done = sample.run("deploy")
    assert done.ok, done.text
    is_complete(host, baseline)
    assert load.failed() == []


@pytest.mark.full  # the scenario `fleet` kills the control node in the middle of a roll
@pytest.mark.parametrize("step", ["build", "roll sample-0", "verify"])
def test_a_deploy_whose_ansible_playbook_is_killed_is_completed_by_the_next(step, host, sample, load):
    baseline = host.observe("sample")["current"]
    sample.source.reset().version(f"4.3.{STEPS.index(step)}").at_import(BOOT)
    with load.roll(f"ansible-playbook killed at {step}"):
        moment = host.telling("wait", "sample", step)
        playbook = sample.start("deploy")
        moment.answer()
        playbook.kill()
        serves_a_verified_release(host, baseline)
        host.tell("wait-end", "sample")  # nobody told the module on the host that its control node is gone
        done = sample.run("deploy")
    assert done.ok, done.text
    is_complete(host, baseline)
    assert load.failed() == []
