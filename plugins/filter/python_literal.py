# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: python_literal
short_description: Render a value as a Python literal
version_added: 1.0.0
author: the pygun.stack authors
description:
  - Turns a YAML value into Python source text that evaluates to the same value, on one line.
  - For configuration files that are Python, where C(to_json) would write C(true) and C(null).
positional: _input
options:
  _input:
    description:
      - A string, number, boolean, null, list or dictionary of such values.
      - Anything else is an error; a date has to be quoted in YAML to be a string.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Show how a setting is written
  ansible.builtin.debug:
    msg: "capture_output = {{ true | pygun.stack.python_literal }}"  # capture_output = True
"""

RETURN = r"""
_value:
  description: Python source text.
  type: str
"""

import json
import math

from ansible.errors import AnsibleFilterError


def python_literal(value):
    """Python source of *value*; strings in double quotes."""
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, str):
        # A JSON string is a Python string, as long as only control characters are escaped.
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, int):
        return repr(int(value))
    if isinstance(value, float) and math.isfinite(value):
        return repr(float(value))
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(python_literal(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(python_literal(key) + ": " + python_literal(item) for key, item in value.items()) + "}"
    raise AnsibleFilterError(
        f"python_literal: cannot write a value of type {type(value).__name__} as Python; quote it to make it a string"
    )


class FilterModule:
    """Filters of this collection for files that are Python."""

    def filters(self):
        return {"python_literal": python_literal}
