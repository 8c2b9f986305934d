# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Processes that are stopped: what supervisord, gunicorn and systemd take for running."""

from __future__ import annotations

import dataclasses
import signal
import subprocess

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.host import inspection
from ansible_collections.pygun.stack.plugins.module_utils.instance.frozen import frozen_processes
from ansible_collections.pygun.stack.plugins.module_utils.instance.probe import Answer
from ansible_collections.pygun.stack.plugins.module_utils.supervisor.rpc import Process
from tests.unit.doctor.hosts import app, codes, host, instance, only, process

GUARD = Process("shop-memory", "shop-memory", "RUNNING", 300, "", 0, "")


def frozen_host(name: str, pid: int, parent: int = 100, unit: str = "supervisord.service"):
    """Two apps, of which the first has instances, a guard and a keeper; one process is stopped."""
    seen, other = app(), app("shop-two", bind="127.0.0.1:5001")
    other.instances = []
    state = host(seen, other, name=name)
    state.supervisord.running = [*(one.process for one in seen.instances), GUARD]
    for number, of in ((200, 100), (201, 100), (300, 100), (400, 200)):
        state.processes[number] = process(number, "python", user="shop", parent=of, unit="supervisord.service")
    state.processes[pid] = dataclasses.replace(
        process(pid, "python", user="shop", parent=parent, unit=unit), stopped=True
    )
    return state


@pytest.mark.parametrize(
    ("pid", "parent", "unit", "subject"),
    [
        pytest.param(200, 100, "supervisord.service", "shop:shop-0", id="a master"),
        pytest.param(400, 200, "supervisord.service", "shop:shop-0", id="a worker"),
        pytest.param(300, 100, "supervisord.service", "shop-memory:shop-memory", id="the memory guard"),
        pytest.param(500, 1, "pygun-shop.service", "pygun-shop.service", id="the keeper"),
    ],
)
def test_a_stopped_process_is_a_finding_of_its_app(pid, parent, unit, subject):
    for name in ("", "shop"):
        found = only(
            frozen_host(name, pid, parent, unit), "process-stopped", f"pid {pid} ", f"kill -CONT {pid}", subject=subject
        )
        assert found.app == "shop"


def test_it_is_no_finding_of_another_app_or_of_a_program_of_others():
    state = frozen_host("shop-two", 200)
    found = frozen_processes(state.processes, state.supervisord.running, ["shop", "shop-two"])
    assert [one.app for one in found] == ["shop"]
    assert codes(frozen_host("", 600, parent=1, unit="ssh.service")) == []


def test_it_explains_that_its_instance_and_its_app_do_not_answer():
    state = frozen_host("", 400, parent=200)
    seen = state.apps[0]
    seen.instances[0] = instance(0, answer=Answer(0, "timed out"))
    seen.answer = Answer(0, "timed out")
    assert codes(state) == ["process-stopped"]
    seen.instances[1] = instance(1, answer=Answer(0, "timed out"))
    assert codes(state) == ["process-stopped", "instance-silent"]


def test_the_kernel_says_which_processes_are_stopped():
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            assert not inspection.processes()[child.pid].stopped
            child.send_signal(signal.SIGSTOP)
            child_state = subprocess.run(
                ["ps", "-o", "state=", str(child.pid)], capture_output=True, text=True, check=True
            )
            assert child_state.stdout.strip() == "T"
            assert inspection.processes()[child.pid].stopped
        finally:
            child.kill()
