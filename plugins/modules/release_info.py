#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell which releases of an app a host has had in service."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_info
short_description: Tell which release of an app is in service, and which were before
version_added: 1.0.0
author: The pygun.stack authors (@pygun)
description:
  - Reads the records of the releases on the host, and asks no process. M(pygun.stack.status) reports the running processes.
options:
  name:
    description: The app.
    type: str
    required: true
  root:
    description: The directory of the app. The default is C(/srv/NAME).
    type: path
attributes:
  check_mode:
    description: It changes nothing in any mode.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
seealso:
  - module: pygun.stack.status
"""

EXAMPLES = r"""
- name: Read which release is in service
  pygun.stack.release_info:
    name: scoring
"""

RETURN = r"""
current:
  description: The release in service; null if there is none.
  returned: always
  type: str
previous:
  description: The release that a rollback goes to; null if there is none.
  returned: always
  type: str
failed_releases:
  description: The releases that did not pass their gate.
  returned: always
  type: list
  elements: str
history:
  description: The last activations, the oldest first, each with C(release), C(at), C(by), and C(rollout) and C(rollback) where they apply.
  returned: always
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host import places
from ..module_utils.release.store import ReleaseStore


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"name": {"type": "str", "required": True}, "root": {"type": "path"}},
        supports_check_mode=True,
    )
    store = ReleaseStore(module.params["root"] or places.root(module.params["name"]))
    module.exit_json(
        changed=False,
        current=store.current(),
        previous=store.previous(),
        failed_releases=sorted(store.failed()),
        history=store.history(),
    )


if __name__ == "__main__":
    main()
