# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: command_digest
short_description: Digest of the code of the command C(pygun)
version_added: 1.0.0
author: the pygun.stack authors (@pygun)
description:
  - Returns the digest by which an archive of M(pygun.stack.command_line) is recognized. M(pygun.stack.host) compares it with what a host has.
options:
  _terms:
    description: None.
"""

EXAMPLES = r"""
- name: Read whether the command pygun has to be copied
  pygun.stack.host:
    archives:
      - path: /opt/pygun/pygun.zip
        digest: "{{ lookup('pygun.stack.command_digest') }}"
  register: host
"""

RETURN = r"""
_raw:
  description: The digest.
  type: list
  elements: str
"""

from ansible.plugins.lookup import LookupBase

from ..plugin_utils.command_archive import digest


class LookupModule(LookupBase):
    """The digest of the code."""

    def run(self, terms, variables=None, **kwargs):
        return [digest()]
