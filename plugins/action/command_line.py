# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Packs the code of the command `pygun` on the control node and copies it to the host."""

from __future__ import annotations

import os
import tempfile

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..plugin_utils import command_archive


class ActionModule(ActionBase):
    TRANSFERS_FILES = True
    _supports_check_mode = True
    _VALID_ARGS = frozenset(("path",))

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        path = self._task.args.get("path")
        if not path:
            raise AnsibleActionFail("command_line: path is missing. Nothing was changed.")
        if self._task.check_mode:  # the directory may not be there yet
            return {**result, "changed": True, "path": path}
        with tempfile.NamedTemporaryFile(dir=constants.DEFAULT_LOCAL_TMP) as file:
            file.write(command_archive.archive())
            file.flush()
            return {**result, **self._copied(file.name, path, task_vars), "path": path}

    def _copied(self, source, path, task_vars):
        task = self._task.copy()
        task.args = {"src": os.path.realpath(source), "dest": path, "owner": "root", "group": "root", "mode": "0644"}
        copy = self._shared_loader_obj.action_loader.get(
            "ansible.legacy.copy",
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        answer = copy.run(task_vars=task_vars)
        return {name: answer[name] for name in ("changed", "failed", "msg") if name in answer}
