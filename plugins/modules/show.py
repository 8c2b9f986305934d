#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name; nothing of it runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: show
short_description: Print a text as it is
version_added: 1.0.0
author: The pygun.stack authors (@pygun)
description:
  - Prints a text on the screen of the control node, with its line breaks, without quotes, and whatever callback shows the results.
  - Runs once for all hosts of the play, with the variables of the first of them, and needs no connection.
  - The text is not part of the result, so that nothing shows it twice.
options:
  text:
    description: What is printed. Nothing is printed if it is empty.
    type: str
    required: true
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
  - module: ansible.builtin.debug
"""

EXAMPLES = r"""
- name: Show how long each host is up
  pygun.stack.show:
    text: |
      {% for host in ansible_play_hosts %}
      {{ '%-20s %8d s' | format(host, hostvars[host].ansible_facts.uptime_seconds) }}
      {% endfor %}
"""

RETURN = r"""# """
