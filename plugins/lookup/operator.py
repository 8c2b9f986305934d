# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: operator
short_description: Name the person who runs Ansible
version_added: 1.0.0
author: the pygun.stack authors (@pygun)
description:
  - The account on the control node, by E(USER) and E(LOGNAME). Where neither is set, as in many containers and CI jobs, by its user id.
options: {}
"""

EXAMPLES = r"""
- name: Show who deploys
  ansible.builtin.debug:
    msg: "{{ lookup('pygun.stack.operator') }}"
"""

RETURN = r"""
_raw:
  description: The name, or the number of an account that has no name.
  type: list
  elements: str
"""

import os
import pwd

from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):
    """The account that runs Ansible."""

    def run(self, terms, variables=None, **kwargs):
        return [os.environ.get("USER") or os.environ.get("LOGNAME") or _of_the_process()]


def _of_the_process():
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
