#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the roles have to know of a host before they change it, in one round trip."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: Ask a host for its distribution, packages that it lacks, services that run, and virtual environments
version_added: 0.1.0
author: The pygun.stack authors (@pygun)
description:
  - Answers in one round trip, and in a fraction of the time of gathered facts, what the roles of this collection decide by.
options:
  packages:
    description: Packages of the distribution that are needed.
    type: list
    elements: str
    default: []
  services:
    description: Units of systemd to ask about.
    type: list
    elements: str
    default: []
  venvs:
    description: Virtual environments that M(pygun.stack.venv) may have made.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Its directory.
        type: path
        required: true
      requirements:
        description: What is to be in it.
        type: list
        elements: str
        required: true
  python:
    description: The interpreter that they are to be made from.
    type: path
    default: /usr/bin/python3
attributes:
  check_mode:
    support: full
    description: It changes nothing in any mode.
  diff_mode:
    support: none
    description: There is nothing to show.
"""

EXAMPLES = r"""
- name: Ask the host
  pygun.stack.host_info:
    packages:
      - python3-venv
    services:
      - supervisor.service
  register: host
"""

RETURN = r"""
distribution:
  description: Its name and version, as in C(PRETTY_NAME) of C(/etc/os-release).
  returned: success
  type: str
  sample: Debian GNU/Linux 12 (bookworm)
family:
  description: The distributions that it is or is made of, C(ID) and C(ID_LIKE) there.
  returned: success
  type: list
  elements: str
  sample: [debian]
lacking:
  description: Those of O(packages) that are not installed.
  returned: success
  type: list
  elements: str
active:
  description: Those of O(services) that run.
  returned: success
  type: list
  elements: str
ready:
  description: Those of O(venvs) that need nothing, as they were given.
  returned: success
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pygun.stack.plugins.module_utils import python_env


def os_release():
    """The fields of os-release."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            with open(path, encoding="utf-8") as lines:
                fields = (line.rstrip("\n").partition("=") for line in lines)
                return {
                    name: value.strip("\"'") for name, equals, value in fields if equals and not name.startswith("#")
                }
        except FileNotFoundError:
            continue
    return {}


def lacking(module, packages):
    """Those that dpkg has not, or not whole."""
    query = module.get_bin_path("dpkg-query")
    if not packages or not query:
        return packages
    _code, out, _err = module.run_command(
        [query, "--show", "--showformat", "${Package} ${db:Status-Status}\\n", *packages]
    )
    there = {line.split()[0] for line in out.splitlines() if line.endswith(" installed")}
    return [name for name in packages if name not in there]


def active(module, services):
    """Those that systemd says are active."""
    systemctl = module.get_bin_path("systemctl")
    if not services or not systemctl:
        return []
    _code, out, _err = module.run_command([systemctl, "is-active", *services])
    return [name for name, state in zip(services, out.splitlines()) if state == "active"]


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "default": []},
            "services": {"type": "list", "elements": "str", "default": []},
            "venvs": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "path", "required": True},
                    "requirements": {"type": "list", "elements": "str", "required": True},
                },
            },
            "python": {"type": "path", "default": "/usr/bin/python3"},
        },
        supports_check_mode=True,
    )
    fields = os_release()
    venvs = module.params["venvs"]
    python = python_env.python_version(module.params["python"]) if venvs else None
    module.exit_json(
        changed=False,
        distribution=fields.get("PRETTY_NAME", "unknown"),
        family=[fields.get("ID", ""), *fields.get("ID_LIKE", "").split()],
        lacking=lacking(module, module.params["packages"]),
        active=active(module, module.params["services"]),
        ready=[venv for venv in venvs if not python_env.missing(venv["path"], venv["requirements"], python)],
    )


if __name__ == "__main__":
    main()
