# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: status_report
short_description: Gather the state of many hosts for a program
version_added: 1.0.0
author: the pygun.stack authors
description:
  - Turns what M(pygun.stack.status) found on each host into one dictionary, without what Ansible adds to results.
positional: _input
options:
  _input:
    description: The registered result of M(pygun.stack.status) of each host, by the name of the host.
    type: dict
    required: true
seealso:
  - plugin: pygun.stack.status_table
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Save the state of one host
  ansible.builtin.copy:
    content: "{{ {inventory_hostname: found} | pygun.stack.status_report | to_nice_json }}"
    dest: status.json
    mode: "0644"
  delegate_to: localhost
"""

RETURN = r"""
_value:
  description:
    - C(ok), and C(hosts) with what the module returned for each, by the name of the host.
    - A host that did not answer or could not be looked at has C(ok) and C(problems) only.
  type: dict
"""

from ..module_utils.status_table import report


class FilterModule:
    """The state of all hosts, as data for programs."""

    def filters(self):
        return {"status_report": report}
