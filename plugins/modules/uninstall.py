#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: uninstall
short_description: Take an app, or everything of this collection, away from a host
version_added: 1.0.0
author: the pygun.stack authors (@pygun)
description:
  - Lets the app finish its requests, stops it, and removes what the collection wrote for it, and nothing else.
  - What others put into the same folders stays, and is named, and so do packages of the distribution.
  - On a load balancer, with O(everything), the configuration that HAProxy had before the role comes back, and a HAProxy that runs takes
    it over without dropping a request. Where none was put aside, HAProxy is stopped and no longer started at boot.
  - Refused while a deploy, a restart or a rollback of one of the apps runs. A run that was interrupted is finished by the next one.
extends_documentation_fragment: pygun.stack.places
options:
  name:
    description: Name of the app.
    type: str
    default: ""
  everything:
    description:
      - Remove all apps, supervisord, uv, what the role P(pygun.stack.load_balancer#role) wrote, and whatever else is of the collection.
      - Needs O(apps) where there are any.
    type: bool
    default: false
  apps:
    description: With O(everything), the names of the apps that may go. Refused when the host has another.
    type: list
    elements: str
    default: []
  data:
    description: Remove also what the app keeps in C(shared), and its user and group if the collection made them.
    type: bool
    default: false
  tools_dir:
    description: Directory of the tools. The unit of supervisord has precedence.
    type: path
    default: /opt/pygun
  cache_dir:
    description: Directory of the installers' download caches.
    type: path
    default: /var/cache/pygun
  ctl_link:
    description: Link to C(supervisorctl). Stays if it leads elsewhere.
    type: str
    default: /usr/local/bin/supervisorctl
  by:
    description: Name of the operator. A second run at the same time shows it.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    description: Lists what would go.
  diff_mode:
    support: full
    description: Lists what goes and what stays.
seealso:
  - module: pygun.stack.control
"""

EXAMPLES = r"""
- name: Remove an app, and keep its data
  pygun.stack.uninstall:
    name: scoring

- name: Remove everything that the collection wrote
  pygun.stack.uninstall:
    everything: true
    apps: [scoring]
    data: true
"""

RETURN = r"""
removed:
  description: What went. A path that ends with a slash is a folder; accounts are C(user NAME) and C(group NAME).
  returned: success
  type: list
  elements: str
left:
  description: What stays in the folders of the collection, such as data and the files of others.
  returned: success
  type: list
  elements: str
stopped:
  description: Processes that ran, as supervisor names them.
  returned: success
  type: list
  elements: str
packages:
  description: With O(everything), the packages of the distribution that stay.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host import places
from ..module_utils.supervisor.conf import PLACES_OPTIONS
from ..module_utils.uninstall.removal import Options, Uninstall, UninstallError


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "default": ""},
            "everything": {"type": "bool", "default": False},
            "apps": {"type": "list", "elements": "str", "default": []},
            "data": {"type": "bool", "default": False},
            **PLACES_OPTIONS,
            "tools_dir": {"type": "path", "default": places.TOOLS_DIR},
            "cache_dir": {"type": "path", "default": places.CACHE_DIR},
            "ctl_link": {"type": "str", "default": "/usr/local/bin/supervisorctl"},
            "by": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    uninstall = Uninstall(Options(**{**module.params, "apps": tuple(module.params["apps"])}))
    try:
        result = uninstall.predict() if module.check_mode else uninstall.run()
    except UninstallError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
