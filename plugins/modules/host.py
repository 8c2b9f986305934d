#!/usr/bin/python
# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a role wants on a host, and has to know of it, in one round trip."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host
short_description: Have accounts, directories, files and links, and ask about the host, all in one round trip
version_added: 0.1.0
author: The pygun.stack authors (@pygun)
description:
  - Does what a task of M(ansible.builtin.file), M(ansible.builtin.copy) or M(ansible.builtin.template) for each of them would do, but asks the
    host once. A run that has nothing to change costs the same for one file as for twenty.
  - The same round trip tells what the roles of this collection decide by, O(packages), O(services), O(venvs) and O(program_scope) among it, in
    a fraction of the time of gathered facts. What it finds as it should be need not be asked again by the tasks that come after.
  - Every file is checked by its O(files[].validate) before the first of them is replaced. Each is replaced in one step (rename).
  - Users are system users without a password, a home directory that is made, or a shell, each in a group.
  - Parents that are missing are made, owned by root. What stands in the way (a directory where a file is to be) is an error.
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
        description: The user's home directory. It is not made.
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
          - What is there as soon as somebody works with this directory, such as the link to an app's release. From then on another owner or
            group is refused, before anything is changed. What runs belongs to the former, and could do nothing with what is the new one's.
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
        description: What stands in it.
        type: str
      secret_content:
        description: What stands in it, if nobody may see that. Neither logs nor diffs show it.
        type: str
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
        description: A command that ends with 0 if the file is right. C(%s) stands for its name. No shell reads it.
        type: str
  links:
    description: Symbolic links. What they point at need not be there.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The link.
        type: path
        required: true
      target:
        description: What it points at.
        type: str
        required: true
  packages:
    description: Packages of the distribution to ask about.
    type: list
    elements: str
    default: []
  services:
    description: Units of systemd to ask about.
    type: list
    elements: str
    default: []
  venvs:
    description: Virtual environments to ask about, such as M(pygun.stack.venv) makes.
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
  program_scope:
    description: A scope of M(pygun.stack.programs) to ask about.
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
    description: Shows the files; of those with O(files[].secret_content) only that they change.
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
  description: What was made or changed, be it only its owner or mode.
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

import grp
import os
import pwd
import shlex
import tempfile

from ..module_utils import python_env
from ..module_utils.host_view import installed_packages, user_name
from ..module_utils.program_scope import files_of
from ..module_utils.release_store import write_atomically, write_link
from ..module_utils.stack_module import StackModule

OWNED = {
    "path": {"type": "path", "required": True},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
}
NO_SHELL = "/usr/sbin/nologin"
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
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            **OWNED,
            "mode": {"type": "str", "default": "0644"},
            "content": {"type": "str"},
            "secret_content": {"type": "str", "no_log": True},
            "validate": {"type": "str"},
        },
        "mutually_exclusive": [("content", "secret_content")],
        "required_one_of": [("content", "secret_content")],
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
    "program_scope": {
        "type": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "conf_dir": {"type": "path", "required": True},
        },
    },
}


class Tree:
    """What is to be on the host, and what of it changed."""

    def __init__(self, module):
        self.module = module
        self.paths = []
        self.diffs = []

    def obstacles(self, directories, files, links):
        """What stands where something else is to be."""
        for kind, entries, right in (
            ("directory", directories, os.path.isdir),
            ("file", files, lambda path: not os.path.isdir(path)),
            ("link", links, os.path.islink),
        ):
            for path in (given["path"] for given in entries):
                if os.path.lexists(path) and not right(path):
                    yield f"{path} is to be a {kind}, and something else stands there: move it away."
        for given in directories:
            path, in_service = given["path"], given["in_service"]
            if in_service and os.path.lexists(in_service) and os.path.isdir(path):
                found = os.stat(path)
                belongs, wanted = (user_name(found.st_uid), group_of(found.st_gid)), (given["owner"], given["group"])
                # An account that has been deleted has no name any more: nobody works with it.
                if belongs != wanted and not any(name.isdigit() for name in belongs):
                    yield (
                        f"{path} is to belong to {':'.join(wanted)}, and belongs to {':'.join(belongs)}, which {in_service} is in service"
                        f" with. Keep user and group, or remove what is in service (playbook uninstall.yml) and install it again, or"
                        f" install it under another name beside it."
                    )

    def account(self, given):
        """Have one group, and the user in it."""
        group, user = given["group"], given["user"]
        if not is_group(group):
            self.note(f"group {group}", "", "a system group\n")
            self.command("groupadd", "--system", group)
        right = {"--gid": group, "--home-dir": given["home"], "--shell": NO_SHELL}
        try:
            found = pwd.getpwnam(user)
        except KeyError:
            self.note(f"user {user}", "", described(right))
            self.command("useradd", "--system", "--no-create-home", *pairs(right), user)
            return
        there = {"--gid": group_of(found.pw_gid), "--home-dir": found.pw_dir, "--shell": found.pw_shell}
        other = {option: value for option, value in right.items() if there[option] != value}
        if other:
            self.note(f"user {user}", described({option: there[option] for option in other}), described(other))
            # usermod has a name of its own for one of them.
            self.command(
                "usermod", *pairs({option.replace("-dir", ""): value for option, value in other.items()}), user
            )

    def command(self, program, *arguments):
        """Run a program of the distribution, unless this is a check."""
        if not self.module.check_mode:
            self.module.run_command([self.module.get_bin_path(program, required=True), *arguments], check_rc=True)

    def directory(self, given):
        """Have one directory."""
        path = given["path"]
        made = not os.path.isdir(path)
        if made:
            self.changed(path, "", "a directory\n")
            if not self.module.check_mode:
                os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
                os.mkdir(path, 0o700)
        self.attributes(given, made)

    def write(self, given):
        """Have one file."""
        path = given["path"]
        new = differs(given)
        if new:
            secret = given["secret_content"] is not None
            before, after = read(path), content(given)
            hidden = "(not shown)\n"
            self.changed(path, (hidden if secret and before else before) or "", hidden if secret else after)
            if not self.module.check_mode:
                mode = int(given["mode"], 8)
                write_atomically(path, after.encode(), mode)
        self.attributes(given, new)

    def validate(self, given):
        """Have its command look at a file that will be written."""
        # In check mode an earlier task has only pretended to bring the command, or the user that it looks for.
        if not given["validate"] or self.module.check_mode or not differs(given):
            return
        command = shlex.split(given["validate"])
        with tempfile.NamedTemporaryFile(dir=self.module.tmpdir) as file:
            file.write(content(given).encode())
            file.flush()
            code, out, err = self.module.run_command([word.replace("%s", file.name) for word in command])
        if code:
            self.refuse(
                f"{given['path']} would not be right: `{given['validate']}` ends with {code}: {(err or out).strip()}"
            )

    def link(self, given):
        """Have one symbolic link."""
        path, target = given["path"], given["target"]
        before = os.readlink(path) if os.path.islink(path) else None
        if before != target:
            self.changed(path, f"-> {before}\n" if before else "", f"-> {target}\n")
            if not self.module.check_mode:
                write_link(path, target)

    def attributes(self, given, new):
        """Owner, group and mode."""
        if self.module.check_mode and new:
            return  # they are part of what is said already, and the user may not be there yet
        diff = {}
        arguments = self.module.load_file_common_arguments(given)
        if self.module.set_fs_attributes_if_different(arguments, False, diff=diff) and not new:
            before, after = diff.get("before", {}), diff.get("after", {})
            self.changed(
                given["path"],
                "".join(f"{name}: {before[name]}\n" for name in after if name != "path"),
                "".join(f"{name}: {after[name]}\n" for name in after if name != "path"),
            )

    def changed(self, path, before, after):
        """Note what changed of a path."""
        self.paths.append(path)
        self.note(path, before, after)

    def note(self, what, before, after):
        """Note what changed."""
        self.diffs.append({"before_header": what, "after_header": what, "before": before, "after": after})

    def refuse(self, message):
        """End, before anything but accounts has been made."""
        done = "; ".join(f"{diff['after_header']} was made or changed" for diff in self.diffs)
        self.module.fail_json(msg=f"{message} {done + ', nothing else' if done else 'Nothing was changed'}.")


def pairs(options):
    """Options and values, as a command line has them."""
    return [word for pair in options.items() for word in pair]


def described(options):
    """The same for people."""
    return "".join(f"{option.strip('-').replace('home-dir', 'home')}: {value}\n" for option, value in options.items())


def is_group(name):
    """Whether there is a group of that name."""
    try:
        return bool(grp.getgrnam(name))
    except KeyError:
        return False


def group_of(gid):
    """The name of a group, or its number if it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def differs(given):
    """Whether a file is not there, or has another content, or is a link."""
    return os.path.islink(given["path"]) or read(given["path"]) != content(given)


def content(given):
    """What is to stand in a file."""
    return given["content"] if given["content"] is not None else given["secret_content"]


def read(path):
    """What stands in a file; None if there is none. Bytes that are no text count as different from any."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


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


def states(module, services):
    """What systemd says of each unit: whether it is active, and whether it starts at boot."""
    systemctl = module.get_bin_path("systemctl")
    if not services or not systemctl:
        return dict.fromkeys(services, ("", ""))
    _code, out, _err = module.run_command(
        [systemctl, "show", "--property=ActiveState", "--property=UnitFileState", "--", *services]
    )
    told = [dict(line.split("=", 1) for line in unit.splitlines() if "=" in line) for unit in out.split("\n\n")]
    told += [{}] * len(services)  # where systemd does not run, it says nothing
    return {name: (one.get("ActiveState"), one.get("UnitFileState")) for name, one in zip(services, told)}


def ready(venvs, python):
    """Those that need nothing."""
    version = python_env.python_version(python) if venvs else None
    return [venv for venv in venvs if not python_env.missing(venv["path"], venv["requirements"], version)]


def main():
    """Run the module."""
    module = StackModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    params = module.params
    tree = Tree(module)
    obstacles = list(tree.obstacles(params["directories"], params["files"], params["links"]))
    if obstacles:
        tree.refuse(" ".join(obstacles))
    for given in params["accounts"]:  # what validates a file may look for them
        tree.account(given)
    for given in params["files"]:
        tree.validate(given)
    for given in params["directories"]:
        tree.directory(given)
    for given in params["files"]:
        tree.write(given)
    for given in params["links"]:
        tree.link(given)
    fields, scope = os_release(), params["program_scope"]
    there = installed_packages(params["packages"])
    services = states(module, params["services"])
    module.exit_json(
        changed=bool(tree.diffs),
        paths=sorted(set(tree.paths)),
        diff=tree.diffs,
        distribution=fields.get("PRETTY_NAME", "unknown"),
        family=[fields.get("ID", ""), *fields.get("ID_LIKE", "").split()],
        lacking=[name for name in params["packages"] if name not in there],
        active=[name for name, (state, _at_boot) in services.items() if state == "active"],
        idle=[
            name
            for name, (state, at_boot) in services.items()
            if state not in ("active", "activating") or at_boot != "enabled"
        ],
        ready=ready(params["venvs"], params["python"]),
        programs=bool(scope and files_of(scope["name"], scope["conf_dir"])),
    )


if __name__ == "__main__":
    main()
