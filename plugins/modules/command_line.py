#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name; the module copy does the work on the host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: command_line
short_description: Copy the code of the command C(pygun) to the host
version_added: 1.0.0
author: The pygun.stack authors (@pygun)
description:
  - The command C(pygun) of a host shows its status, logs and findings in the words of the playbooks, restarts an app, and runs commands
    in a release. It consists of the code of the modules of this collection.
  - Packs that code into an archive and copies it to the host. M(pygun.stack.host) finds out whether that is needed (RV(pygun.stack.host#module:outdated)).
options:
  path:
    description: The archive on the host.
    type: path
    required: true
attributes:
  check_mode:
    description: Predicts that it copies the code. The host is not asked.
    support: full
  diff_mode:
    description: It shows no difference of the code.
    support: none
seealso:
  - module: pygun.stack.host
  - plugin: pygun.stack.command_digest
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Copy the code of the command pygun to the host
  pygun.stack.command_line:
    path: /opt/pygun/pygun.zip
"""

RETURN = r"""
path:
  description: The archive.
  returned: success
  type: str
"""
