"""A process that is stopped while it is being started ends at once: a real supervisord under the role's launcher."""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.supervisor.rpc import Supervisor
from tests.component.supervised import START_SUPERVISORD, SUPERVISORD, eventually, listens

TRIES = 20
#: Seconds after which supervisord kills what has not heeded its signal.
PATIENCE = 20
PROGRAM = f"[program:early]\ncommand=/bin/sleep 1000\nautostart=false\nstartsecs=0\nstopwaitsecs={PATIENCE}\n"


@pytest.fixture
def supervisor():
    folder = Path(tempfile.mkdtemp(prefix="pygun-", dir="/tmp"))  # a short path: unix sockets have 107 bytes
    (folder / "supervisord.conf").write_text(SUPERVISORD.format(folder=folder) + PROGRAM)
    process = subprocess.Popen([*START_SUPERVISORD, "-n", "-c", folder / "supervisord.conf"], stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: listens(folder / "supervisor.sock"), 60)
        yield Supervisor(str(folder / "supervisor.sock"), timeout=60)
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder)


def test_a_process_that_is_stopped_before_its_program_runs_heeds_the_signal(supervisor):
    """The fork has supervisord's own handlers until its program replaces it. They would note the signal and lose it."""
    calls = [
        {"methodName": "supervisor.startProcess", "params": ["early", False]},
        {"methodName": "supervisor.stopProcess", "params": ["early"]},
    ]
    for _ in range(TRIES):
        begun = time.monotonic()
        assert supervisor.call("system.multicall", calls) == [True, True]
        assert time.monotonic() - begun < PATIENCE, "the signal was lost"
