"""Run a real module of the collection as a process of its own: parameters on stdin, its JSON on stdout."""

import importlib
import sys

from ansible.module_utils import basic

basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
importlib.import_module(f"ansible_collections.pygun.stack.plugins.modules.{sys.argv[1]}").main()
