"""A machine that goes down in the middle of an activation comes back with the release that was verified last."""

import contextlib
import os
import shutil
import signal

import pytest


@pytest.fixture
def machine(make_host):
    """A host of its own: it goes down."""
    return make_host()


def crash(host):
    """Power off: everything dies at once, and /run is empty afterwards."""
    groups = {process.pid for process in host.all_processes() if process.pid}
    os.kill(host.process.pid, signal.SIGKILL)
    host.process.wait()
    for pid in groups:
        with contextlib.suppress(ProcessLookupError):  # who holds the socket goes with supervisord
            os.killpg(pid, signal.SIGKILL)
    (host.folder / "supervisor.sock").unlink()
    for candidates in host.folder.glob("*/pygun"):
        shutil.rmtree(candidates)
    for run in host.folder.glob("*/run"):
        shutil.rmtree(run)
        run.mkdir()


CHECKPOINTS = ["gated {0}-0", "current", "rolled", "commit"]


@pytest.mark.parametrize("checkpoint", CHECKPOINTS if os.environ.get("PYGUN_FULL") else CHECKPOINTS[:2])
def test_a_reboot_in_the_middle_of_a_deploy(machine, eventually, checkpoint):
    app = machine.new_app()
    app.deploy(app.release())
    old, new = app.current, app.release()
    app.env_content = "COLOUR=green\n"
    assert app.deploy(new, kill_at=checkpoint.format(app.name)) is None
    verified = app.current
    assert verified == (new if checkpoint == "current" else old)
    crash(machine)
    machine.boot()
    eventually(lambda: set(app.releases_running().values()) == {verified})
    result = app.deploy(new)
    assert not result.get("failed"), result["msg"]
    assert set(app.releases_running().values()) == {new}
    assert app.current == new
    assert app.get()[1].endswith("green")
    assert app.leftovers() == []


def test_a_reboot_in_the_middle_of_a_first_deploy(machine, eventually):
    app = machine.new_app()
    release = app.release()
    assert app.deploy(release, kill_at="reconfigured") is None
    crash(machine)
    machine.boot()
    eventually(lambda: set(app.releases_running().values()) == {release})
    result = app.deploy(release)
    assert not result.get("failed"), result["msg"]
    assert app.state["history"][0]["release"] == release
    assert app.leftovers() == []
