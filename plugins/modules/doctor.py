#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find out what is wrong on a host, why, and what to do."""

from __future__ import annotations

DOCUMENTATION = r"""
module: doctor
short_description: Find out what is wrong on a host, why, and what to do
version_added: 1.0.0
author: The pygun.stack authors (@pygun)
description:
  - Looks at supervisord, its unit and its configuration, at the apps, their releases, instances and logs, at addresses, permissions,
    disks, memory and the clock of a host that was set up with this collection.
  - Finds the apps by itself, needs none of their variables and changes nothing.
  - Reports causes, not what follows from them.
  - Does not fail because something is wrong; the playbook C(pygun.stack.doctor) does.
extends_documentation_fragment: pygun.stack.places
options:
  name:
    description: The app to look at. When empty, every app on the host.
    type: str
    default: ""
  tools_dir:
    description: Directory that holds supervisor's virtual environment.
    type: path
    default: /opt/pygun
  unit:
    description: The unit that starts supervisord.
    type: str
    default: supervisord.service
  control_clock:
    description: The time on the control node in seconds since 1970. The host's clock is compared with it; V(0) leaves that out.
    type: float
    default: 0
attributes:
  check_mode:
    description: It changes nothing, so check mode makes no difference.
    support: full
  diff_mode:
    description: The module changes nothing, so it has no difference to show.
    support: none
"""

EXAMPLES = r"""
- name: Examine the host
  pygun.stack.doctor:
    control_clock: "{{ now().timestamp() }}"
  register: doctor

- name: Refuse to go on if something is wrong
  ansible.builtin.assert:
    that: doctor.errors == 0
    fail_msg: "{{ doctor.text }}"
"""

RETURN = r"""
healthy:
  description: Whether there is neither an error nor a warning.
  returned: success
  type: bool
errors:
  description: Number of errors.
  returned: success
  type: int
findings:
  description: What is wrong, errors first.
  returned: success
  type: list
  elements: dict
  contains:
    severity:
      description: V(error) or V(warning).
      type: str
    code:
      description: A word for the kind of the finding, the same in every version.
      type: str
    subject:
      description: The app, instance, file, process or part of the host that it is about.
      type: str
    symptom:
      description: What was seen.
      type: str
    cause:
      description: Why it is so.
      type: str
    remedy:
      description: What to do.
      type: str
facts:
  description: What matters of the apps, supervisord, the disk and the clock.
  returned: success
  type: dict
text:
  description: All of it as a person reads it.
  returned: success
  type: str
"""

import socket

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.doctor.examination import examine
from ..module_utils.doctor.report import in_words
from ..module_utils.doctor.state import Options
from ..module_utils.host import places
from ..module_utils.supervisor.conf import PLACES_OPTIONS


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "default": ""},
            **PLACES_OPTIONS,
            "tools_dir": {"type": "path", "default": places.TOOLS_DIR},
            "unit": {"type": "str", "default": "supervisord.service"},
            "control_clock": {"type": "float", "default": 0},
        },
        supports_check_mode=True,
    )
    found = examine(Options(**module.params))
    errors = sum(1 for one in found["findings"] if one["severity"] == "error")
    module.exit_json(changed=False, errors=errors, text=in_words(socket.gethostname(), found), **found)


if __name__ == "__main__":
    main()
