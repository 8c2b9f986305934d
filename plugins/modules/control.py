#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Start, stop or restart an app that is deployed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: control
short_description: Start, stop or restart an app that is deployed
version_added: 1.0.0
author: The pygun.stack authors (@pygun)
description:
  - Starts, stops or restarts an app, or one of its instances, and comes back when that has happened, which for an instance that starts
    means that it answers.
  - Finds on the host where the app is, and needs none of its variables.
  - Changes no release and no file. Refuses to run while the app is being deployed.
extends_documentation_fragment: pygun.stack.places
options:
  name:
    description: The app.
    type: str
    required: true
  state:
    description:
      - V(started) starts the instances that do not run, and waits until they are ready. Running instances stay untouched.
      - V(stopped) lets the instances finish their requests and stops them. They are started again by V(started), by a deploy, and
        when supervisord starts (a reboot).
      - V(restarted) restarts one instance after the other, so that no request is lost.
    type: str
    required: true
    choices:
      - started
      - stopped
      - restarted
  instance:
    description: >-
      The instance that is meant, such as V(scoring-0), or the program of the app's release, such as V(scoring.worker). When empty, all of them.
    type: str
    default: ""
  force:
    description: Restart at once, by killing. Requests that are in flight get no answer. New callers wait.
    type: bool
    default: false
  by:
    description: Name of the operator. A second run at the same time shows it.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    description: Predicts what would be started and stopped.
  diff_mode:
    support: full
    description: Shows the state of each instance.
seealso:
  - module: pygun.stack.activate
  - module: pygun.stack.status
"""

EXAMPLES = r"""
- name: Start the app
  pygun.stack.control:
    name: scoring
    state: started

- name: Stop the app
  pygun.stack.control:
    name: scoring
    state: stopped

- name: Restart one instance without losing a request
  pygun.stack.control:
    name: scoring
    state: restarted
    instance: scoring-0
"""

RETURN = r"""
release:
  description: The release that is in service.
  returned: success
  type: str
  sample: 0a1b2c3d4e5f6071
instances:
  description: What was done with each instance.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The instance.
      type: str
    pid:
      description: The pid of its master; 0 if it is stopped.
      type: int
    release:
      description: The release that it runs, or would run.
      type: str
    action:
      description: V(kept), V(started), V(restarted) or V(stopped).
      type: str
    stop_s:
      description: Seconds until it had finished its requests and stopped.
      type: float
    ready_s:
      description: Seconds until it was ready.
      type: float
programs:
  description: What was done with each process of the programs of the app's release.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The process.
      type: str
    pid:
      description: Its pid; 0 if it is stopped.
      type: int
    release:
      description: The release that it runs.
      type: str
    action:
      description: V(kept), V(started), V(restarted) or V(stopped).
      type: str
    seconds:
      description: Seconds until it was up, the stop included.
      type: float
seconds:
  description: How long all of it took.
  returned: success
  type: float
step:
  description: What failed, such as V(lock), V(prepare), V(start), V(stop) or V(restart).
  returned: failure
  type: str
log:
  description: The last log lines of the instance that failed, since it was started.
  returned: failure
  type: list
  elements: str
cause:
  description: The cause, if it is a known one, or null.
  returned: failure
  type: str
remedy:
  description: What to do about it, or null.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.activation.errors import ActivationError
from ..module_utils.control import Options, control
from ..module_utils.supervisor.conf import PLACES_OPTIONS


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "required": True, "choices": ["started", "stopped", "restarted"]},
            "instance": {"type": "str", "default": ""},
            "force": {"type": "bool", "default": False},
            **PLACES_OPTIONS,
            "by": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    try:
        result = control(Options(**module.params), module.warn, module.check_mode)
    except ActivationError as error:
        module.fail_json(msg=str(error), **error.facts)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
