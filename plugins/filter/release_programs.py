# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: release_programs
short_description: Write the programs of an app's release as files of supervisor
version_added: 1.0.0
author: the pygun.stack authors
description:
  - Renders C(flask_app_programs) for the parameter C(programs) of the module M(pygun.stack.activate).
positional: _input
options:
  _input:
    description: The programs, as C(flask_app_programs) has them.
    type: list
    elements: dict
    required: true
  app:
    description:
      - The app, with C(name), C(root), C(user), C(run_dir), C(log_dir), C(conf_dir), C(tools_dir), and C(stopwaitsecs) for programs
        that do not set it.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the file of a program
  ansible.builtin.debug:
    msg: "{{ (flask_app_programs | pygun.stack.release_programs(app)).0.content }}"
"""

RETURN = r"""
_value:
  description: Files, each with C(path) and C(content).
  type: list
  elements: dict
"""

from ..module_utils.supervisor.release_programs import render


class FilterModule:
    def filters(self):
        return {"release_programs": render}
