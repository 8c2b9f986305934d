#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: venv
short_description: Keep a virtual environment that holds a tool
version_added: 1.0.0
author: the pygun.stack authors (@pygun)
description:
  - Makes a virtual environment and installs requirements into it. Nothing changes while the environment holds them.
  - A changed environment is created from nothing. If that fails, the former environment comes back.
  - An account of its own installs, C(pygun-build), so that no package's code runs as root while it is installed. Root then takes over
    the files. What runs from the environment later has whatever rights it is started with.
extends_documentation_fragment: pygun.stack.installer
options:
  path:
    description: Directory of the virtual environment.
    type: path
    required: true
  requirements:
    description: What it must hold, such as C(supervisor==4.3.0).
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    description: Says what would be installed.
    support: full
  diff_mode:
    description: Shows the versions before and after.
    support: full
"""

EXAMPLES = r"""
- name: Install supervisor in a virtual environment of its own
  pygun.stack.venv:
    path: /opt/pygun/supervisor
    requirements:
      - supervisor==4.3.0
    uv: /opt/pygun/uv/bin/uv
"""

RETURN = r"""
installed:
  description: Names and versions of what the environment holds now.
  returned: success
  type: dict
  sample: {supervisor: 4.3.0}
"""

import os

from ..module_utils.diagnosis.symptoms import advice
from ..module_utils.host import build_account
from ..module_utils.host.atomic import kept_aside, put_back, remove_tree
from ..module_utils.host.lock import Busy, held
from ..module_utils.python_env import INSTALLER_OPTIONS, Installer, InstallError, explained, scratch_of
from ..module_utils.stack_module import StackModule
from ..module_utils.virtual_env import installed, missing, pinned_version, python_version, requirement_name

#: Next to the environments. One run at a time installs there.
LOCK = "venv.lock"


def main():
    module = StackModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "requirements": {"type": "list", "elements": "str", "required": True},
            **INSTALLER_OPTIONS,
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        apply(module)
    folder = os.path.dirname(module.params["path"])
    try:
        os.makedirs(folder, exist_ok=True)
        # One for all of the folder: the account that installs is the same.
        with held(os.path.join(folder, LOCK), module.params["timeout"]):
            apply(module)
    except Busy:
        module.fail_json(
            msg=f"Another run has been installing into {folder} for {module.params['timeout']} s. Nothing was changed. Wait for it to end,"
            " then run this again."
        )
    except OSError as error:
        module.fail_json(msg=f"{module.params['path']} cannot be made: {error}")


def apply(module):
    """Install what is needed; nothing, if another run has done so meanwhile."""
    params = module.params
    path = params["path"]
    if not module.check_mode:
        put_back(path)
    before = installed(path)
    python = python_version(params["python"])
    if python is None:
        module.fail_json(msg=f"{params['python']} cannot be run (python_interpreter). Nothing was changed.")
    needed = missing(path, params["requirements"], python)
    wanted = {requirement_name(item): pinned_version(item) or "newest" for item in needed}
    if not needed:
        module.exit_json(changed=False, installed=before)
    if module.check_mode:
        module.exit_json(changed=True, installed={**before, **wanted}, diff=_diff(path, before, {**before, **wanted}))

    try:
        installer = Installer.from_options(params, build_account.have())
        with kept_aside(path):
            installer.create(path, params["python"])
            installer.install(path, params["requirements"])
            installer.take_over(path)
    except (OSError, InstallError) as error:
        known = explained(error)
        cause = f"\n{advice(known)}" if known else ""
        remove_tree(scratch_of(path), ignore_errors=True)
        module.fail_json(msg=f"{' '.join(params['requirements'])} cannot be installed into {path}: {error}{cause}")
    after = installed(path)
    module.exit_json(changed=True, installed=after, diff=_diff(path, before, after))


def _diff(path, before, after):
    return {
        "before_header": path,
        "after_header": path,
        "before": "".join(f"{name}=={version}\n" for name, version in sorted(before.items())),
        "after": "".join(f"{name}=={version}\n" for name, version in sorted(after.items())),
    }


if __name__ == "__main__":
    main()
