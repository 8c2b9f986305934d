# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The AnsibleModule of modules that write files which others read, or are given secrets."""

from __future__ import annotations

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule


def encodable(value: t.Any) -> t.Any:
    """The value with escapes for bytes that are no text, such as those of a file's name: Ansible refuses an answer with any."""
    if isinstance(value, dict):
        return {encodable(key): encodable(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [encodable(entry) for entry in value]
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "backslashreplace").decode()
    return value


class StackModule(AnsibleModule):
    """A module that writes no secret to the host's log, and no file that its users cannot read.

    Ansible writes all parameters to the log. It looks for values marked C(no_log) inside a dictionary or a list in
    their representation. There a line break or a backslash looks different, so the secret would be logged.

    A root whose umask is 077, as on hardened hosts, would make directories that the app cannot enter. Whoever writes
    a secret gives its file a mode of its own.
    """

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        os.umask(0o022)
        super().__init__(*args, **kwargs)

    def exit_json(self, **kwargs: t.Any) -> t.NoReturn:
        super().exit_json(**self._answer(kwargs))

    def fail_json(self, msg: str, **kwargs: t.Any) -> t.NoReturn:
        super().fail_json(encodable(msg), **self._answer(kwargs))

    def _answer(self, values: dict[str, t.Any]) -> dict[str, t.Any]:
        """The values with the parameters, which Ansible would add as they are."""
        return encodable({"invocation": {"module_args": self.params}, **values})

    def _log_invocation(self) -> None:
        self.log("Invoked")
