# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The AnsibleModule of modules that write files which others read, or are given secrets."""

from __future__ import annotations

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule


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

    def _log_invocation(self) -> None:
        self.log("Invoked")
