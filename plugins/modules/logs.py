#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the last lines of the apps' logs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: logs
short_description: Read the last lines of the apps' logs
version_added: 1.0.0
author: The pygun.stack authors (@pygun)
description:
  - Reads the logs of all instances of an app, or of every app on the host, and returns the last lines in the order of time.
  - Takes lines of the JSON format, of the text format, and what reached the raw logs past the logging (crashes in native code,
    child processes, starts that fail early).
  - Goes back into rotated and compressed files as far as the filters and the number of lines ask for.
  - The playbook C(pygun.stack.logs) shows the lines of all hosts together.
extends_documentation_fragment: pygun.stack.places
options:
  name:
    description: The app. When empty, every app on the host.
    type: str
    default: ""
  instance:
    description: One instance, such as V(scoring-0). When empty, all of them.
    type: str
    default: ""
  lines:
    description: How many lines at most, the newest, from 1 to 100000.
    type: int
    default: 100
  since:
    description:
      - Only lines that are not older, as a distance (V(90s), V(10m), V(2h), V(3d)) by this host's clock, or an ISO time such as
        V(2026-01-31T14:30), which is UTC unless it ends with another offset.
    type: str
    default: ""
  level:
    description:
      - Only lines of this level or a higher one, V(debug), V(info), V(warning), V(error) or V(critical). Lines of the raw logs have
        no level and are not left out.
    type: str
    default: ""
  request_id:
    description: Only lines that this request has caused.
    type: str
    default: ""
  text:
    description: Only lines that contain this text, in any of their fields.
    type: str
    default: ""
  regex:
    description: Only lines in one of whose fields this regular expression (of Python) is found.
    type: str
    default: ""
  raw:
    description: Whether lines of the raw logs are among them.
    type: bool
    default: true
  log_dir:
    description: Directory of the app's logs. When empty, the one that the app's program names.
    type: str
    default: ""
attributes:
  check_mode:
    description: It changes nothing, so check mode makes no difference.
    support: full
  diff_mode:
    description: The module changes nothing, so it has no difference to show.
    support: none
seealso:
  - module: pygun.stack.doctor
"""

EXAMPLES = r"""
- name: Read what one request has caused
  pygun.stack.logs:
    name: scoring
    request_id: 5f2b9c1e7a40-1f
  register: logs

- name: Read the errors of the last hour
  pygun.stack.logs:
    level: error
    since: 1h
    lines: 1000
  register: logs
"""

RETURN = r"""
entries:
  description: The lines, oldest first.
  returned: success
  type: list
  elements: dict
  contains:
    time:
      description: Seconds since 1970.
      type: float
    exact:
      description: Whether the line has a time. If not, the time is that of the line after it, or of the last change of the file.
      type: bool
    app:
      description: Name of the app.
      type: str
    instance:
      description: Name of the instance.
      type: str
    fields:
      description:
        - The fields of the line under the names that they have in the JSON format, whatever the format. Texts beyond 16384
          characters are cut.
      type: dict
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.log_reader import LogError, Query, find_logs, read
from ..module_utils.supervisor.conf import PLACES_OPTIONS

FILTERS = ("lines", "since", "level", "request_id", "text", "regex", "raw")


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "default": ""},
            "instance": {"type": "str", "default": ""},
            "lines": {"type": "int", "default": 100},
            "since": {"type": "str", "default": ""},
            "level": {"type": "str", "default": ""},
            "request_id": {"type": "str", "default": ""},
            "text": {"type": "str", "default": ""},
            "regex": {"type": "str", "default": ""},
            "raw": {"type": "bool", "default": True},
            "log_dir": {"type": "str", "default": ""},
            **PLACES_OPTIONS,
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        query = Query.parse(now=time.time(), **{name: given[name] for name in FILTERS})
        logs = find_logs(given["base_dir"], given["conf_dir"], given["name"], given["log_dir"], given["instance"])
    except LogError as error:
        module.fail_json(msg=f"The logs were not read: {error} Nothing was changed.")
    module.exit_json(changed=False, entries=[entry.as_dict() for entry in read(logs, query)])


if __name__ == "__main__":
    main()
