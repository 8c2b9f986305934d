# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: status_table
short_description: Show the state of many hosts as one table
version_added: 1.0.0
author: the pygun.stack authors
description:
  - Turns what M(pygun.stack.status) found on each host into a text for people, with one line for each app and program, and what is
    not as it should be at its end.
  - A host that did not answer, or could not be looked at, has its line as well.
positional: _input
options:
  _input:
    description: The registered result of M(pygun.stack.status) of each host, by the name of the host.
    type: dict
    required: true
seealso:
  - plugin: pygun.stack.status_report
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show what runs where
  pygun.stack.show:
    text: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, 'found'))) | pygun.stack.status_table }}"
"""

RETURN = r"""
_value:
  description: The text.
  type: str
"""

from ..module_utils.status_table import table


class FilterModule:
    """The state of all hosts, as a text for people."""

    def filters(self):
        return {"status_table": table}
