# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the module `activate`, with the release command on one host of a rollout only, and says in a sentence what it did."""

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..plugin_utils import progress, text
from ..plugin_utils.once import Once


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp=None, task_vars=None):
        args, host = self._task.args, task_vars["inventory_hostname"]
        name = args.get("name")
        once = Once(str(name), str(args.get("rollout") or self._task._uuid)) if args.get("release_command") else None
        result = super().run(tmp, task_vars)
        if once is None:
            with progress.shown(f"{name}, {host}: activating the release"):
                result.update(self._execute_module(task_vars=task_vars))
        elif self._task.check_mode:
            result.update(self._execute_module(task_vars=task_vars))
            command = result.get("release_command")
            if command and once.is_first_to("show the release command"):
                Display().display(f"{name}: {host} would run the release command: {command['command']}")
        else:
            with progress.shown(f"{name}, {host}: activating the release"):
                result.update(self._activate_in_turn(once, host, task_vars))
        if result.get("release") and not result.get("failed") and not self._task.check_mode:
            how = "now" if result.get("changed") else "already"
            Display().display(text.serves(name, host, how, result["release"], result.get("bind")))
        return result

    def _activate_in_turn(self, once, host, task_vars):
        """Activate. The first host runs the release command; no other is touched before it serves."""
        name = self._task.args.get("name")
        with once.turn(host) as first:
            if not first:
                result = self._execute_module(task_vars=task_vars)
                command = result.get("release_command")
                once.note(host, bool(result.get("failed")), changed=not command or command["changed"])
                if command:
                    ran = f"{name}: {host} has run the release command in {command['seconds']:.1f} s: {command['command']}"
                    Display().display("\n".join([ran, *(f"    {line}" for line in command["lines"])]))
                return result
            if first["failed"]:
                return {
                    "failed": True,
                    "msg": f"{first['host']}, on which the release command runs for all hosts, has failed; its error says why."
                    f" {host} was not touched. Nothing was changed.",
                }
            about_first = {"release_command_host": first["host"], "release_command_changed": first["changed"]}
            args = {**self._task.args, **about_first}
            return self._execute_module(module_args=args, task_vars=task_vars)
