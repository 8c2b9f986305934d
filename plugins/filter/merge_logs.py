# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: merge_logs
short_description: Put the log lines of several hosts in the order of time, as text
version_added: 1.0.0
author: the pygun.stack authors
description:
  - Takes what the module M(pygun.stack.logs) has found on each host and makes one text of it, one line for each entry.
  - The text for people shows time, host, instance, level, logger, message and request id; of a request method, path, status and
    milliseconds; stack traces are indented below. A V(~) marks a time that is not from the line itself.
  - Nothing in it can move the cursor or change the colours of a terminal.
  - The text for programs has one JSON object in each line, with the name of the host as C(host.name).
positional: _input
options:
  _input:
    description: For each host the C(entries) of the module.
    type: dict
    required: true
  lines:
    description: How many entries at most, the newest; V(0) is all.
    type: int
    default: 0
  format:
    description: For people, or for programs.
    type: str
    choices: [text, json]
    default: text
"""

EXAMPLES = r"""
- name: Show the last lines of all hosts
  pygun.stack.show:
    text: "{{ dict(ansible_play_hosts | zip(ansible_play_hosts | map('extract', hostvars, ['logs', 'entries']))) | pygun.stack.merge_logs(lines=100) }}"
"""

RETURN = r"""
_value:
  description: The text, without a line end at its end.
  type: str
"""

from ansible.errors import AnsibleFilterError

from ..module_utils import log_text


def merge_logs(found, lines=0, format="text"):
    """One text of the entries of all hosts."""
    if format not in log_text.FORMATS:
        raise AnsibleFilterError(f"merge_logs: format is {format!r}, and must be one of {', '.join(log_text.FORMATS)}.")
    return log_text.FORMATS[format](log_text.merged(found, int(lines)))


class FilterModule:
    """Filters of this collection for logs."""

    def filters(self):
        return {"merge_logs": merge_logs}
