# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes down what came of each task, and of each item of a loop: a line of JSON each."""

from __future__ import annotations

import json
import os

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: pygun_record
type: notification
short_description: writes down what came of each task
description: For tests that compare two runs.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "pygun_record"

    def _note(self, result, outcome):
        found = result._result
        item = found.get("_ansible_item_label", found.get("item"))
        line = {
            "task": result._task.get_name(),
            "item": str(item) if item is not None else "",
            "outcome": outcome,
            "changed": bool(found.get("changed")) and outcome == "ok",
            "diff": found.get("diff") or None,
            "msg": str(found.get("msg", "")) if outcome == "failed" else "",
        }
        with open(os.environ["PYGUN_RECORD"], "a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, default=str) + "\n")

    def v2_runner_on_ok(self, result):
        self._note(result, "ok")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._note(result, "failed")

    def v2_runner_on_skipped(self, result):
        self._note(result, "skipped")

    def v2_runner_item_on_ok(self, result):
        self._note(result, "ok")

    def v2_runner_item_on_failed(self, result):
        self._note(result, "failed")

    def v2_runner_item_on_skipped(self, result):
        self._note(result, "skipped")
