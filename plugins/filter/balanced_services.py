# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: balanced_services
short_description: Work out which hosts serve behind a load balancer
version_added: 1.0.0
author: the pygun.stack authors
description:
  - Completes the entries of C(load_balancer_services) with their defaults and with the hosts of their groups.
  - An entry whose hosts or port are missing in the inventory is an error.
positional: _input, groups, hostvars
options:
  _input:
    description: The services.
    type: list
    elements: dict
    required: true
  groups:
    description: The groups of the inventory.
    type: dict
    required: true
  hostvars:
    description: The variables of the hosts.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show who serves
  ansible.builtin.debug:
    msg: "{{ load_balancer_services | pygun.stack.balanced_services(groups, hostvars) }}"
"""

RETURN = r"""
_value:
  description: The services, each with its C(servers).
  type: list
  elements: dict
"""

from ansible.errors import AnsibleFilterError

from ..plugin_utils.balancer import BalancerError, services


def balanced_services(entries, groups, hostvars):
    """The services with their servers."""
    try:
        return services(entries, groups, hostvars)
    except BalancerError as error:
        raise AnsibleFilterError(f"load_balancer_services: {error}") from error


class FilterModule:
    """Filters of this collection for the load balancer."""

    def filters(self):
        return {"balanced_services": balanced_services}
