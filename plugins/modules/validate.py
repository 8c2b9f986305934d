#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name; nothing of it runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: validate
short_description: Check what the variables of a role mean
version_added: 1.0.0
author: The pygun.stack authors (@pygun)
description:
  - Checks the variables of a role of this collection, and of the roles that it brings along, beyond what their argument specs say.
    Names are safe, addresses and paths can be used, settings of gunicorn and directives of systemd exist, and variables agree
    with one another.
  - Warns about variables with a prefix of the collection that neither a role nor a playbook reads, nor another variable is made of. Of
    those on the command line, it also warns about a name that is like one of the collection.
  - Tells everything that is wrong at once, with what to do about each. Secrets are never shown.
  - Runs only on the control node, without a connection. The roles begin with it.
options:
  role:
    description: The role whose variables are checked. Without one, the module only warns of names of variables that no role or playbook reads.
    type: str
    choices:
      - flask_app
      - load_balancer
      - supervisor
      - python
attributes:
  check_mode:
    description: It changes nothing in any mode.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Check the variables that a play has for an app
  pygun.stack.validate:
    role: flask_app
"""

RETURN = r"""
variables:
  description: The variables that cannot be used. C(msg) says of each why, and what to do.
  returned: failure
  type: list
  elements: str
"""
