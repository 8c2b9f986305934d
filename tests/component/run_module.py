"""Run a real module of the collection as a process of its own: parameters on stdin, its JSON on stdout.

Nobody who runs the tests wants accounts made on his machine, so whoever that is installs, unless PYGUN_TEST_ACCOUNTS is set.
"""

import importlib
import os
import sys

from ansible.module_utils import basic

from ansible_collections.pygun.stack.plugins.module_utils.host import build_account

if not os.environ.get("PYGUN_TEST_ACCOUNTS"):
    build_account.have = lambda app="": None
    build_account.nobody = lambda: None

basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
importlib.import_module(f"ansible_collections.pygun.stack.plugins.modules.{sys.argv[1]}").main()
