# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prints a text as it is, once for all hosts, since callbacks print results as data."""

from __future__ import annotations

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display


class ActionModule(ActionBase):
    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset(("text",))

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        text = self._task.args.get("text")
        if not isinstance(text, str):
            what = "nothing" if text is None else f"a {type(text).__name__}"
            raise AnsibleError(f"show: text is {what}, and must be a string. `| to_nice_yaml` makes one of data.")
        if text:
            Display().display(str(text))
        return {**result, "changed": False}
