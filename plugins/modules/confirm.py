#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name; nothing of it runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: confirm
short_description: Go on only if the command line names what is interrupted or removed
version_added: 1.0.0
author: The pygun.stack authors (@pygun)
description:
  - Fails for all hosts of the play, before anything is done on any, unless the command line (C(-e)) gives the variables of O(names) and
    O(switches) the values that they have. Values of the inventory or of a play are not enough.
  - C(-e confirm=NAME) confirms the name without setting the variable itself.
  - Says what is done, and on which hosts. In check mode as well.
  - Runs once for all hosts of the play, and needs no connection.
options:
  does:
    description: What the play does, as the beginning of a sentence that ends with the hosts.
    type: str
    required: true
  names:
    description: Variables that hold a name, or several. One that is empty needs no confirmation.
    type: list
    elements: str
    default: []
  switches:
    description: Variables that are on or off. One that is off needs no confirmation.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: It changes nothing, so check mode makes no difference.
    support: full
  diff_mode:
    description: The module changes nothing, so it has no difference to show.
    support: none
notes:
  - Strategies that run hosts independently of each other (C(free)) cannot be used with it.
seealso:
  - module: pygun.stack.control
  - module: pygun.stack.uninstall
"""

EXAMPLES = r"""
- name: Refuse a run without a confirmation
  pygun.stack.confirm:
    does: Stops {{ flask_app_name }}
    names: [flask_app_name]
"""

RETURN = r"""# """
