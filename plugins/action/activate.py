# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Says in a sentence what the module `activate` did to a host."""

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..plugin_utils import progress, text


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp=None, task_vars=None):
        who = f"{self._task.args.get('name')}, {task_vars['inventory_hostname']}"
        with progress.shown(f"{who}: activating the release"):
            result = {**super().run(tmp, task_vars), **self._execute_module(task_vars=task_vars)}
        if result.get("release") and not result.get("failed") and not self._task.check_mode:
            how = "now" if result.get("changed") else "already"
            name, host = self._task.args.get("name"), task_vars["inventory_hostname"]
            Display().display(text.serves(name, host, how, result["release"], result.get("bind")))
        return result
