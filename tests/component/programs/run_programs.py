"""Run the real module `programs` as a process of its own: parameters on stdin, its JSON on stdout.

PYGUN_TEST_KILL_AT names a checkpoint at which it kills itself with SIGKILL.
"""

import os
import signal
import sys

from ansible.module_utils import basic

from ansible_collections.pygun.stack.plugins.module_utils.programs.transaction import Programs
from ansible_collections.pygun.stack.plugins.modules import programs


class Interruptible(Programs):
    def checkpoint(self, name):
        if name == os.environ.get("PYGUN_TEST_KILL_AT"):
            os.kill(os.getpid(), signal.SIGKILL)


basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
programs.main(Interruptible)
