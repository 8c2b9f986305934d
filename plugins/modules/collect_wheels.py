#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: collect_wheels
short_description: Collect on the control node the wheels that a host will install
version_added: 1.0.0
author: the pygun.stack authors (@pygun)
description:
  - Works out what the requirements need on the host's Python and platform, and downloads the wheels of it to the control node.
  - Nothing is built. A wheel that no index has, such as one of your own, can be put into O(dest) by hand before.
  - The control node needs a package index; it is found as pip finds it. The host is only asked for its Python, and not even that when
    O(target) is given.
  - Wheels that are there already stay, since other apps and other hosts may need them.
options:
  dest:
    description: Directory on the control node.
    type: str
    required: true
  target:
    description: Python and platform, such as V(3.11-manylinux_2_36_x86_64). When empty, the host is asked.
    type: str
    default: ""
  python:
    description: Interpreter on the host.
    type: path
    default: /usr/bin/python3
  app_python:
    description: The interpreter that the app asks for, as for M(pygun.stack.release). A version takes the place of the one in O(target).
    type: str
    default: ""
  src:
    description: Directory of the source on the control node, as for M(pygun.stack.release).
    type: str
    default: ""
  git_repo:
    description: Repository to take the source from.
    type: str
    default: ""
  git_ref:
    description: Branch, tag or commit of O(git_repo).
    type: str
    default: HEAD
  exclude:
    description: Patterns of names or paths in the source to leave out, as for M(pygun.stack.release).
    type: list
    elements: str
    default: []
  include:
    description: Patterns of names or paths in the source to take along although git ignores them, as for M(pygun.stack.release).
    type: list
    elements: str
    default: []
  shared_paths:
    description: Paths in the source that outlive releases, as for M(pygun.stack.release).
    type: list
    elements: str
    default: []
  requirements:
    description: Requirement files, as for M(pygun.stack.release).
    type: list
    elements: str
    default: []
  extras:
    description: Extras and dependency groups, as for M(pygun.stack.release).
    type: list
    elements: str
    default: []
  packages:
    description: Packages to install besides.
    type: list
    elements: str
    default: []
  server_packages:
    description: The server's packages, in addition to those of the app, as for M(pygun.stack.release).
    type: list
    elements: str
    default: []
  overrides:
    description: Requirements that win over what any package asks for.
    type: list
    elements: str
    default: []
  index_url:
    description: Address of the package index. When empty, pip's own settings on the control node count.
    type: str
    default: ""
  extra_args:
    description: Further arguments of the installer on the host. Those that say where packages are, such as C(--extra-index-url), count here too.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Says which wheels would be added.
  diff_mode:
    support: full
    description: Lists the wheels that are added.
seealso:
  - module: pygun.stack.wheelhouse
"""

EXAMPLES = r"""
- name: Collect the wheels of the app
  pygun.stack.collect_wheels:
    dest: "{{ inventory_dir }}/wheelhouse"
    src: "{{ playbook_dir }}/app/"
    server_packages:
      - gunicorn[gevent]==27.0.1
"""

RETURN = r"""
target:
  description: Python and platform that the wheels are for.
  returned: success
  type: str
  sample: 3.11.2-manylinux_2_36_x86_64
added:
  description: Wheels that were not there before.
  returned: success
  type: list
  elements: str
"""

from ..module_utils.release import app_python
from ..module_utils.stack_module import StackModule
from ..module_utils.virtual_env import platform


def main():
    """Tell the action plugin, which does the work on the control node, what host this is."""
    listing = {"type": "list", "elements": "str", "default": []}
    module = StackModule(
        argument_spec={
            "dest": {"type": "str", "required": True},
            "target": {"type": "str", "default": ""},
            "python": {"type": "path", "default": "/usr/bin/python3"},
            "app_python": {"type": "str", "default": ""},
            "src": {"type": "str", "default": ""},
            "git_repo": {"type": "str", "default": ""},
            "git_ref": {"type": "str", "default": "HEAD"},
            "exclude": listing,
            "include": listing,
            "shared_paths": listing,
            "requirements": listing,
            "extras": listing,
            "packages": listing,
            "server_packages": listing,
            "overrides": listing,
            "index_url": {"type": "str", "default": "", "no_log": True},
            "extra_args": listing,
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        _path, version = app_python.wanted(given["app_python"], given["python"], module.check_mode)
    except app_python.NoInterpreter as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, target=f"{version}-{platform()}", added=[])


if __name__ == "__main__":
    main()
