"""Run the real module `activate` as a process of its own: parameters on stdin, its JSON on stdout.

PYGUN_TEST_KILL_AT names a checkpoint at which it kills itself with SIGKILL;
PYGUN_TEST_HOLD_AT one at which it waits until the file named by PYGUN_TEST_HOLD_FILE is gone. PYGUN_TEST_MEMORY is the host's
memory in bytes.
"""

import os
import signal
import sys
import time
from pathlib import Path

from ansible.module_utils import basic

from ansible_collections.pygun.stack.plugins.module_utils.activation import transaction, trial
from ansible_collections.pygun.stack.plugins.modules import activate


class Interruptible(transaction.Activation):
    def checkpoint(self, name):
        if trace := os.environ.get("PYGUN_TEST_TRACE"):
            with Path(trace).open("a") as stream:
                stream.write(name + "\n")
        if name == os.environ.get("PYGUN_TEST_KILL_AT"):
            os.kill(os.getpid(), signal.SIGKILL)
        if name == os.environ.get("PYGUN_TEST_HOLD_AT"):
            held = Path(os.environ["PYGUN_TEST_HOLD_FILE"])
            held.touch()
            while held.exists():
                time.sleep(0.02)


if memory := os.environ.get("PYGUN_TEST_MEMORY"):
    trial.memory_of_host = lambda kind: int(memory)
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
activate.main(Interruptible)
