#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: host
short_description: Create accounts, directories, files and links, and read the state of the host, in one round trip
version_added: 1.0.0
author: The pygun.stack authors (@pygun)
description:
  - Replaces a task of M(ansible.builtin.file), M(ansible.builtin.copy) or M(ansible.builtin.template) for each of them with one round trip.
    A run that has nothing to change costs the same for one file as for twenty.
  - The same round trip reads the facts that the roles of this collection need, such as O(packages), O(services), O(venvs) and O(program_scope), in
    a fraction of the time of gathered facts. Later tasks skip the parts that are in order.
  - Every file is checked by its O(files[].validate) before the first of them is replaced. Each is replaced in one step (rename).
  - Users are system users in a group, without a password or a shell. Their home directory is not created.
  - Missing parents are created, owned by root. A path occupied by something of another kind (a directory in place of a file) is an error.
options:
  accounts:
    description: Groups, and users in them.
    type: list
    elements: dict
    default: []
    suboptions:
      group:
        description: The group.
        type: str
        required: true
      user:
        description: The user, whose primary group it is.
        type: str
        required: true
      home:
        description: The user's home directory. It is not created.
        type: path
        required: true
  directories:
    description: Directories, parents first.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The directory.
        type: path
        required: true
      owner:
        description: Its owner.
        type: str
        default: root
      group:
        description: Its group.
        type: str
        default: root
      mode:
        description: Its mode (octal).
        type: str
        default: "0755"
      in_service:
        description:
          - Path that exists while the directory is in service, such as the link to an app's release. If it exists, another owner or
            group is refused, before anything is changed, because the running processes belong to the former owner.
        type: path
  files:
    description: Files.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The file.
        type: path
        required: true
      content:
        description: Content of the file.
        type: str
      secret_content:
        description: Content of the file, if it is secret. Neither logs nor diffs show it.
        type: str
      hidden_lines:
        description:
          - A regular expression for the beginnings of those lines of O(files[].secret_content) that hold a secret. Diffs then show all other lines.
        type: str
        default: ""
      owner:
        description: Its owner.
        type: str
        default: root
      group:
        description: Its group.
        type: str
        default: root
      mode:
        description: Its mode (octal).
        type: str
        default: "0644"
      validate:
        description: A command that ends with 0 if the file is right. C(%s) is replaced by its path. It runs without a shell.
        type: str
  validate_together:
    description: A check of O(files) that refer to each other, before the first of them is replaced.
    type: dict
    suboptions:
      path:
        description: The one of O(files) that names the others by their paths.
        type: path
        required: true
      command:
        description:
          - A command that ends with 0 if they are right. C(%s) is replaced by the path of a copy of O(validate_together.path) that names copies of the others.
            The copies have the new content. No shell reads the command. Check mode runs it as well, where the program exists.
        type: str
        required: true
  links:
    description: Symbolic links. Their targets need not exist.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The link.
        type: path
        required: true
      target:
        description: The link's target.
        type: str
        required: true
  packages:
    description: Packages of the distribution to look up.
    type: list
    elements: str
    default: []
  archives:
    description: Archives of M(pygun.stack.command_line) that are to be there.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The archive.
        type: path
        required: true
      digest:
        description: The digest of what it is to hold (P(pygun.stack.command_digest#lookup)).
        type: str
        required: true
  jobs:
    description: Parameters of M(pygun.stack.jobs). A schedule that the host's systemd does not understand is refused, before anything is changed.
    type: dict
  services:
    description: Units of systemd to look up.
    type: list
    elements: str
    default: []
  venvs:
    description: Virtual environments to look up, as M(pygun.stack.venv) makes them.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Its directory.
        type: path
        required: true
      requirements:
        description: Requirements that the environment must hold.
        type: list
        elements: str
        required: true
  python:
    description: The interpreter that they are to be made from.
    type: path
    default: /usr/bin/python3
  app_python:
    description:
      - The interpreter that an app asks for, as a path or a version such as C(3.12). One that this host lacks, or that programs below O(sandbox) cannot
        run, is refused before anything is changed, unless one of O(packages) is missing that may bring it. Not checked when empty.
    type: str
    default: ""
  aside:
    description:
      - Files that others have put in place of ours, such as those of RV(foreign). Each is kept under its name with the ending
        C(.before-pygun).
    type: list
    elements: path
    default: []
  pending:
    description: >-
      Files that a service reads only when it starts or reloads. The module returns that they have changed until the note of them is gone, also if
      the run that wrote them was killed.
    type: dict
    suboptions:
      path:
        description: >-
          The note, such as in the runtime directory of the service, which systemd removes when the service stops. Without that directory there
          is none.
        type: path
        required: true
      files:
        description: The files, which are among O(files).
        type: list
        elements: path
        required: true
  supervisor:
    description: Places of supervisord, to find supervisors that the collection has not installed.
    type: dict
    suboptions:
      conf_dir:
        description: The directory of its configuration.
        type: path
        required: true
      tools_dir:
        description: The directory of the collection's tools.
        type: path
        required: true
      ctl_link:
        description: The link to supervisorctl, if one is wanted.
        type: str
        default: ""
  sandbox:
    description:
      - Options of the unit below which programs run. With this, O(python) is tried as a user without rights, and looked up among what these options
        hide. An interpreter that is there and that programs cannot run is refused, before anything is changed; so are options that hide a device
        which one of the programs has open.
    type: dict
  program_scope:
    description: A scope of M(pygun.stack.programs) to look up.
    type: dict
    suboptions:
      name:
        description: The scope.
        type: str
        required: true
      conf_dir:
        description: The directory whose C(*.conf) files supervisord includes.
        type: path
        required: true
attributes:
  check_mode:
    support: full
    description: Predicts what would change, on a host of any state. Commands of O(files[].validate) are not run.
  diff_mode:
    support: full
    description: Shows the files; of those with O(files[].secret_content) only that they change, or O(files[].hidden_lines) aside, how.
"""

EXAMPLES = r"""
- name: Write what the service reads, where it reads it
  pygun.stack.host:
    directories:
      - path: /etc/scoring
      - path: /var/log/scoring
        group: scoring
        mode: "0750"
    files:
      - path: /etc/scoring/limits.conf
        content: "{{ lookup('ansible.builtin.template', 'limits.conf.j2') }}"
      - path: /etc/scoring/token
        secret_content: "{{ vault_token }}"
        group: scoring
        mode: "0640"
    links:
      - path: /usr/local/bin/scoring
        target: /opt/scoring/bin/scoring
    services:
      - scoring.service
  register: written

- name: Restart what reads them, if one of them changed
  ansible.builtin.systemd_service:
    name: scoring.service
    state: "{{ 'restarted' if '/etc/scoring/limits.conf' in written.paths else 'started' }}"
    enabled: true
  when: "'/etc/scoring/limits.conf' in written.paths or 'scoring.service' in written.idle"
"""

RETURN = r"""
paths:
  description: Files that were made or changed, including those with only another owner or mode, and those of O(pending).
  returned: success
  type: list
  elements: str
distribution:
  description: The host's distribution and its version, as in C(PRETTY_NAME) of C(/etc/os-release).
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
idle:
  description: Those of O(services) that do not run, or do not start at boot.
  returned: success
  type: list
  elements: str
jobs:
  description: Whether M(pygun.stack.jobs) with these parameters would change something.
  returned: success
  type: bool
outdated:
  description: Those of O(archives) that are not there, or hold something else.
  returned: success
  type: list
  elements: str
supervisors:
  description: Supervisors that run and would fight with the one of O(supervisor), in words.
  returned: success
  type: list
  elements: str
foreign:
  description: Files of others in the places of O(supervisor), as long as the collection has not installed it.
  returned: success
  type: list
  elements: str
ready:
  description: Those of O(venvs) that need nothing, as they were given.
  returned: success
  type: list
  elements: dict
programs:
  description: Whether M(pygun.stack.programs) has written files of O(program_scope).
  returned: success
  type: bool
"""

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ..module_utils import virtual_env
from ..module_utils.host import devices, interpreter
from ..module_utils.host.facts import os_release, states
from ..module_utils.host.files import FILES_SPEC, OWNED, Tree, ends_with
from ..module_utils.host.inspection import installed_packages
from ..module_utils.host.pending import PENDING_SPEC, Pending
from ..module_utils.instance.jobs import ARGUMENT_SPEC as JOBS_SPEC
from ..module_utils.instance.jobs import JobError, Jobs
from ..module_utils.stack_module import StackModule
from ..module_utils.supervisor import others
from ..module_utils.supervisor.program_scope import files_of

ARGUMENT_SPEC = {
    "accounts": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "group": {"type": "str", "required": True},
            "user": {"type": "str", "required": True},
            "home": {"type": "path", "required": True},
        },
    },
    "directories": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {**OWNED, "mode": {"type": "str", "default": "0755"}, "in_service": {"type": "path"}},
    },
    "files": FILES_SPEC,
    "validate_together": {
        "type": "dict",
        "options": {
            "path": {"type": "path", "required": True},
            "command": {"type": "str", "required": True},
        },
    },
    "links": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "path", "required": True},
            "target": {"type": "str", "required": True},
        },
    },
    "packages": {"type": "list", "elements": "str", "default": []},
    "archives": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"path": {"type": "path", "required": True}, "digest": {"type": "str", "required": True}},
    },
    "jobs": {"type": "dict"},
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
    "app_python": {"type": "str", "default": ""},
    "aside": {"type": "list", "elements": "path", "default": []},
    "pending": PENDING_SPEC,
    "supervisor": {
        "type": "dict",
        "options": {
            "conf_dir": {"type": "path", "required": True},
            "tools_dir": {"type": "path", "required": True},
            "ctl_link": {"type": "str", "default": ""},
        },
    },
    "sandbox": {"type": "dict"},
    "program_scope": {
        "type": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "conf_dir": {"type": "path", "required": True},
        },
    },
}


def jobs_from(module, tree):
    """The jobs that are wanted; those that systemd does not understand are refused."""
    if module.params["jobs"] is None:
        return None
    given = ArgumentSpecValidator(JOBS_SPEC).validate(module.params["jobs"])
    if given.error_messages:
        module.fail_json(msg=f"jobs: {' '.join(given.error_messages)}")
    jobs = Jobs(given.validated_parameters)
    try:
        jobs.refuse_unusable()
    except JobError as error:
        tree.refuse(str(error))
    return jobs


def main():
    """Run the module."""
    module = StackModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    params = module.params
    if params["sandbox"] is not None:
        refusal = interpreter.refusal(params["python"], params["sandbox"]) or devices.refusal(params["sandbox"])
        if refusal:
            module.fail_json(msg=refusal)
    there = installed_packages(params["packages"])
    lacking = [name for name in params["packages"] if name not in there]
    if params["app_python"]:
        refusal = interpreter.refusal_of_app(params["app_python"], params["python"], params["sandbox"] or {}, lacking)
        if refusal:
            module.fail_json(msg=refusal)
    tree = Tree(module)
    tree.asides = params["aside"]
    obstacles = list(tree.obstacles(params["directories"], params["files"], params["links"]))
    if obstacles:
        tree.refuse(" ".join(obstacles))
    jobs = jobs_from(module, tree)
    for given in params["accounts"]:  # what validates a file may look for them
        tree.account(given)
    for given in params["files"]:
        tree.validate(given)
    tree.validate_together(params["files"], params["validate_together"])
    pending = Pending(params["pending"])
    tree.make(params, pending)
    fields, scope, supervisor = os_release(), params["program_scope"], params["supervisor"]
    services = states(module, params["services"])
    module.exit_json(
        changed=bool(tree.diffs or pending.noted()),
        paths=sorted({*tree.paths, *pending.noted()}),
        diff=tree.diffs,
        distribution=fields.get("PRETTY_NAME", "unknown"),
        family=[fields.get("ID", ""), *fields.get("ID_LIKE", "").split()],
        lacking=lacking,
        active=[name for name, (state, _at_boot) in services.items() if state == "active"],
        idle=[
            name
            for name, (state, at_boot) in services.items()
            if state not in ("active", "activating") or at_boot != "enabled"
        ],
        jobs=bool(jobs and not jobs.is_settled()),
        outdated=[one["path"] for one in params["archives"] if not ends_with(one["path"], one["digest"])],
        supervisors=others.running(supervisor["conf_dir"], supervisor["tools_dir"]) if supervisor else [],
        foreign=others.in_our_places(**supervisor) if supervisor else [],
        ready=virtual_env.ready(params["venvs"], params["python"]),
        programs=bool(scope and files_of(scope["name"], scope["conf_dir"])),
    )


if __name__ == "__main__":
    main()
