# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads the wheels on the control node, once for all hosts, and sends each host those that it lacks."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..plugin_utils import pack, transfer


class ActionModule(ActionBase):
    TRANSFERS_FILES = True
    _requires_connection = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        args = self._task.args.copy()
        source = Path(args.get("src") or "")
        key = hashlib.sha256(f"{self._task._uuid} {source}".encode()).hexdigest()[:16]
        shared = pack.Shared(Path(constants.DEFAULT_LOCAL_TMP, f"pygun-wheelhouse-{key}"))
        try:
            with pack.in_words("The wheels cannot be read"):
                entries = shared.collected(lambda _scratch: pack.Collected(self._wheels(source), [], {})).entries
            args["files"] = pack.manifest(entries)
            answer = self._module(args, task_vars)
            if answer.get("failed") or not answer.get("missing") or self._task.check_mode:
                return {**result, **answer}
            missing = [entry for entry in entries if entry.path in answer["missing"]]
            step = f"{task_vars['inventory_hostname']}: sending wheels"
            with pack.in_words("The wheels cannot be packed"):
                archive = shared.archive(missing)
            return {**result, **self._send(archive, step, args, task_vars)}
        except pack.PackError as error:
            raise AnsibleActionFail(f"{error} Nothing was changed.") from error

    def _wheels(self, source):
        wheels = sorted(source.glob("*.whl"))
        if not wheels:
            raise pack.PackError(
                f"python_wheelhouse is {source}, and there is no wheel in it. `ansible-playbook pygun.stack.wheelhouse`, with"
                " this inventory and these variables, fills it."
            )
        return [pack.entry_from_file(wheel.name, wheel.resolve(), wheel.resolve().parent) for wheel in wheels]

    def _module(self, args, task_vars):
        return self._execute_module(module_name="pygun.stack.wheelhouse", module_args=args, task_vars=task_vars)

    def _send(self, archive, step, args, task_vars):
        self._make_tmp_path()
        try:
            remote = transfer.send(self, archive, "wheels.tar.gz", step)
            return self._module({**args, "archive": remote}, task_vars)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
