#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell what runs on a host, and whether that is as it should be."""

from __future__ import annotations

DOCUMENTATION = r"""
module: status
short_description: Tell what runs on a host, and whether that is as it should be
version_added: 1.0.0
author: The pygun.stack authors (@pygun)
description:
  - Looks at supervisord, the apps and the other programs that it runs, on a host that was set up with this collection.
  - Finds the apps by itself, needs none of their variables and changes nothing.
  - Does not fail if something is wrong; the playbook C(pygun.stack.status) does. M(pygun.stack.doctor) reports causes and remedies.
extends_documentation_fragment: pygun.stack.places
options:
  name:
    description: The app to look at. Other apps, and the programs that belong to them, are left out. When empty, everything on the host.
    type: str
    default: ""
  unit:
    description: The unit that starts supervisord. When empty, it is not looked at.
    type: str
    default: supervisord.service
attributes:
  check_mode:
    description: It changes nothing, so check mode makes no difference.
    support: full
  diff_mode:
    description: The module changes nothing, so it has no difference to show.
    support: none
seealso:
  - module: pygun.stack.doctor
  - plugin: pygun.stack.status_table
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Read the state of the host
  pygun.stack.status:
  register: found

- name: Refuse to go on if something is wrong
  ansible.builtin.assert:
    that: found.ok
"""

RETURN = r"""
balancer:
  description: State of HAProxy, with C(state) and C(servers); null on a host that is not a balancer of the collection's.
  returned: success
  type: dict
ok:
  description: Whether everything is as it should be.
  returned: success
  type: bool
problems:
  description: What is not as it should be.
  returned: success
  type: list
  elements: dict
  contains:
    subject:
      description: The app, instance or program that it is about.
      type: str
    what:
      description: What was seen.
      type: str
at:
  description: When this was seen, in UTC.
  returned: success
  type: str
supervisord:
  description: State, pid, version, uptime_s, memory, and unit (whether systemd starts it at boot).
  returned: success
  type: dict
web_page:
  description: The address of supervisor's web page on the host; empty if it is off.
  returned: success
  type: str
apps:
  description: The apps.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The app.
      type: str
    release:
      description: The release that is in service, or null.
      type: str
    since:
      description: Since when, in UTC, or null.
      type: str
    age_s:
      description: The same in seconds until now.
      type: int
    instances:
      description: How many are ready, and their total.
      type: dict
    workers:
      description: How many workers serve.
      type: int
    memory:
      description:
        - The bytes that masters, workers and their children take, and the kind of that figure, or null.
        - V(PSS) counts memory that several processes share once. V(RSS), where root may not ask for PSS, counts it for each of them.
      type: dict
    jobs:
      description: >-
        The jobs, each with its name, when it ran last and runs next (last, next, in UTC or null), its result in words, and whether the last
        run failed.
      type: list
      elements: dict
    requests:
      description: Requests that were served since the masters were started, or null if they do not count.
      type: int
    last_deploy:
      description: When the last deploy was (at), who did it (by), and its release. A rollback is none.
      type: dict
    failed_releases:
      description: Releases that were tried and did not pass, each with release, at and step.
      type: list
      elements: dict
    environment_changed:
      description: Whether its environment file has changed since an instance read it. A restart reads it again.
      type: bool
    stock_gunicorn:
      description: >-
        Version of the gunicorn whose own gevent worker serves, so that a restart can lose requests; empty if the lossless worker serves, or
        a worker of another class.
      type: str
    transaction:
      description: The run that changes the app now, or that was interrupted; empty if there is none.
      type: str
    address:
      description: Where it is served.
      type: str
    logs:
      description: The directory of its logs.
      type: str
    processes:
      description: Its processes as supervisord knows them, each with its own record, the accelerators of its workers and how many dirty workers are up.
      type: list
      elements: dict
programs:
  description: The other programs of supervisord, each with name, group, state, pid, uptime_s, memory and autostart. That of an app also has release.
  returned: success
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.status import Options, Status
from ..module_utils.supervisor.conf import PLACES_OPTIONS


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "default": ""},
            **PLACES_OPTIONS,
            "unit": {"type": "str", "default": "supervisord.service"},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **Status(Options(**module.params)).look())


if __name__ == "__main__":
    main()
