# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: hosts
short_description: Refuse a pattern of hosts that means none
version_added: 1.0.0
author: the pygun.stack authors (@pygun)
description:
  - Returns the pattern for C(hosts) of a play. Ansible passes over a play whose pattern means no host, and ends with 0. This is an error
    instead, also if nothing but C(--limit) leaves no host. With C(--syntax-check) no inventory is asked.
options:
  _terms:
    description: Patterns of hosts, as behind C(hosts) of a play, texts or lists of them.
    required: true
"""

EXAMPLES = r"""
- name: Greet
  hosts: "{{ lookup('pygun.stack.hosts', greeted | default('api')) }}"
  tasks:
    - name: Greet the host
      ansible.builtin.debug:
        msg: Hello
"""

RETURN = r"""
_raw:
  description: The pattern.
  type: list
  elements: str
"""

from ansible import context
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager, split_host_pattern
from ansible.plugins.lookup import LookupBase

#: Groups and hosts that a message names.
_SHOWN = 20


class LookupModule(LookupBase):
    """A pattern that means at least one host."""

    def run(self, terms, variables=None, **kwargs):
        pattern = ",".join(split_host_pattern(_flat(terms)))
        if context.CLIARGS.get("syntax"):  # of a linter, whose inventory is of no account
            return [pattern]
        groups = (variables or {}).get("groups") or {}
        limit = context.CLIARGS.get("subset") or ""
        meant = self._meant(pattern, groups)
        if not meant:
            there = sorted(set(groups) - {"all", "ungrouped"}) + sorted(groups.get("ungrouped", ()))
            more = f", and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
            raise AnsibleError(
                f"No host of the inventory matches {pattern!r}. The inventory has {', '.join(there[:_SHOWN]) or 'no host'}{more}."
                " Name hosts or groups of it (-e flask_app_hosts=PATTERN, -e load_balancer_hosts=PATTERN), or give another"
                " inventory (-i). Nothing was changed."
            )
        if limit and "@" not in limit and not set(meant) & set(self._meant(limit, groups)):
            raise AnsibleError(
                f"--limit {limit} leaves none of the hosts that match {pattern!r}: {', '.join(meant[:_SHOWN])}."
                " Nothing was changed."
            )
        return [pattern]

    def _meant(self, pattern, groups):
        inventory = InventoryManager(self._loader, parse=False)
        for group, hosts in groups.items():
            inventory.add_group(group)
            for host in hosts:
                inventory.add_host(host, group=group)
        return [host.name for host in inventory.get_hosts(pattern)] if pattern else []


def _flat(terms):
    return [str(one) for term in terms for one in (_flat(term) if isinstance(term, (list, tuple)) else [term])]
