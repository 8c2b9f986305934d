#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run a command in a release of an app."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run
short_description: Run a command in a release of an app
version_added: 1.0.0
author: The pygun.stack authors (@pygun)
description:
  - Runs one command as the app's user, with the app's environment and in the folder of its source, as an instance is started. A name without a
    slash is looked for in the virtual environment of the release first.
  - The command runs without a shell and without a terminal. The environment does not appear in the process list.
  - A command that ends with another status than 0 does not fail the module; the playbook C(pygun.stack.run) does.
extends_documentation_fragment: pygun.stack.places
options:
  name:
    description: The app.
    type: str
    required: true
  command:
    description: The command and its arguments, as a list, or as a text that is taken apart as a shell does.
    type: raw
    required: true
  release:
    description: The release, by its id or the first digits of it. When empty, the one that is in service.
    type: str
    default: ""
  timeout:
    description: How many seconds the command may take. Then it is ended, with what it has started.
    type: float
    default: 600
attributes:
  check_mode:
    description: Finds the release and the user, and does not run the command.
    support: full
  diff_mode:
    description: What the command changes is not known.
    support: none
seealso:
  - module: pygun.stack.control
"""

EXAMPLES = r"""
- name: Read the revision of the database
  pygun.stack.run:
    name: scoring
    command: flask db current
  register: revision
  failed_when: revision.rc != 0
  changed_when: false
"""

RETURN = r"""
release:
  description: The release in which it ran.
  returned: success
  type: str
rc:
  description: The exit status. For a command that a signal has ended, 128 and the number of the signal. 0 in check mode.
  returned: success
  type: int
timed_out:
  description: Whether it was ended because it took too long.
  returned: success
  type: bool
output:
  description: The last 256 KiB of what it has printed, standard output and errors together.
  returned: success
  type: str
text:
  description: All of it as a person reads it.
  returned: success
  type: str
"""

import shlex

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.foreign import printable_lines
from ..module_utils.one_off import Outcome, Refused, prepare, shown
from ..module_utils.supervisor.conf import PLACES_OPTIONS


def words_of(command):
    """The command as a list; raises Refused."""
    if isinstance(command, str):
        try:
            return shlex.split(command)
        except ValueError as error:
            raise Refused(f"command is {command!r}, and cannot be taken apart: {error}. Nothing was run.") from None
    if isinstance(command, list):
        return [str(word) for word in command]
    raise Refused("command must be a text or a list. Nothing was run.")


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "command": {"type": "raw", "required": True},
            "release": {"type": "str", "default": ""},
            "timeout": {"type": "float", "default": 600},
            **PLACES_OPTIONS,
        },
        supports_check_mode=True,
    )
    given = module.params
    if not 0 < given["timeout"] <= 86400:
        module.fail_json(
            msg=f"timeout is {given['timeout']:g}, and must be above 0 and at most 86400 seconds. Nothing was run."
        )
    try:
        words = words_of(given["command"])
        one = prepare(given["base_dir"], given["conf_dir"], given["name"], given["release"], words)
    except Refused as error:
        module.fail_json(msg=str(error))
    command = f"{shown(words)} in release {one.release} of {one.app}"
    if module.check_mode:
        outcome, end = Outcome(0, ""), "would be run"
    else:
        try:
            outcome = one.collect(given["timeout"])
        except OSError as error:
            module.fail_json(msg=f"{command} cannot be started: {error.strerror}. Nothing was run.")
        late = f"took longer than {given['timeout']:g} s and was ended"
        end = late if outcome.timed_out else f"ended with status {outcome.status}"
    text = "\n".join(filter(None, (f"{command} {end}.", printable_lines(outcome.output).rstrip("\n"))))
    module.exit_json(
        changed=True,
        failed=False,  # or Ansible takes a status other than 0 for a failure of the module
        release=one.release,
        rc=outcome.status,
        timed_out=outcome.timed_out,
        output=outcome.output,
        text=text,
    )


if __name__ == "__main__":
    main()
