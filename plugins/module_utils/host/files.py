# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Directories, files and links of a role: checked first, then replaced."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shlex
import tempfile

from .atomic import write_atomically, write_link
from .inspection import user_name

OWNED = {
    "path": {"type": "path", "required": True},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
}
FILES_SPEC = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        **OWNED,
        "mode": {"type": "str", "default": "0644"},
        "content": {"type": "str"},
        "secret_content": {"type": "str", "no_log": True},
        "hidden_lines": {"type": "str", "default": ""},
        "validate": {"type": "str"},
    },
    "mutually_exclusive": [("content", "secret_content")],
    "required_one_of": [("content", "secret_content")],
}
#: Ends the name of a file that is kept, and that comes back when the collection is uninstalled.
ASIDE = ".before-pygun"
NO_SHELL = "/usr/sbin/nologin"


class Tree:
    """The wanted accounts, directories, files and links of a host, and the changes that were made."""

    def __init__(self, module):
        self.module = module
        self.paths = []
        self.diffs = []
        self.asides = ()

    def obstacles(self, directories, files, links):
        """Yield paths occupied by something of another kind."""
        for kind, entries, right in (
            ("directory", directories, os.path.isdir),
            ("file", files, lambda path: not os.path.isdir(path)),
            ("link", links, os.path.islink),
        ):
            for path in (given["path"] for given in entries):
                if os.path.lexists(path) and not right(path) and path not in self.asides:
                    yield f"{path} is to be a {kind}, and something of another kind is there: move it away."
        for path in self.asides:
            if os.path.lexists(path) and os.path.lexists(path + ASIDE):
                yield f"{path} is to be kept as {path}{ASIDE}, and that is there already: move one of them away."
        for given in directories:
            path, in_service = given["path"], given["in_service"]
            if in_service and os.path.lexists(in_service) and os.path.isdir(path):
                found = os.stat(path)
                belongs, wanted = (user_name(found.st_uid), group_of(found.st_gid)), (given["owner"], given["group"])
                # A deleted account has no name any more, and no process of its own.
                if belongs != wanted and not any(name.isdigit() for name in belongs):
                    yield (
                        f"{path} is to belong to {':'.join(wanted)}, and belongs to {':'.join(belongs)}, which {in_service} is in service"
                        f" with. Keep user and group, or remove what is in service (ansible-playbook pygun.stack.uninstall) and install it again, or"
                        f" install it under another name next to it."
                    )

    def make(self, params, pending):
        """Make and replace what is wanted, as the module has it."""
        try:
            if not self.module.check_mode:
                watched = [given for given in params["files"] if given["path"] in pending.files]
                pending.note([given["path"] for given in watched if differs(given)])
            self.put_aside(params["aside"])
            for given in params["directories"]:
                self.directory(given)
            for given in params["files"]:
                self.write(given)
            for given in params["links"]:
                self.link(given)
        except OSError as error:
            done = sorted(set(self.paths))
            text = f"{error}. Remove the cause, then run this again: it goes on from there. Changed so far: {', '.join(done) or 'nothing'}."
            self.module.fail_json(msg=text, paths=done)

    def put_aside(self, paths):
        """Rename foreign files that are in the places of ours, or that our programs would read."""
        for path in paths:
            if os.path.lexists(path):
                if not self.module.check_mode:
                    os.rename(path, path + ASIDE)
                self.changed(path, "", f"kept as {path}{ASIDE}\n")

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
            if not self.module.check_mode:
                os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
                os.mkdir(path, 0o700)
            self.changed(path, "", "a directory\n")
        self.attributes(given, made)

    def write(self, given):
        """Have one file."""
        path = given["path"]
        new = differs(given)
        if new:
            before, after = read(path), content(given)
            shown = (before or "", after)
            if given["secret_content"] is not None:
                shown = shown_of(given, before, path in self.asides)
            if not self.module.check_mode:
                mode = int(given["mode"], 8)
                write_atomically(path, after.encode(), mode)
            self.changed(path, *shown)
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

    def validate_together(self, files, given):
        """Validate files that refer to each other with a command, on copies in a directory next to them."""
        if not given or not any(differs(one) for one in files):
            return
        command = shlex.split(given["command"])
        if self.module.check_mode and not os.path.exists(command[0]):
            return  # an earlier task has only pretended to bring it
        with tempfile.TemporaryDirectory(dir=self.module.tmpdir) as folder:
            places = {one["path"]: os.path.join(folder, str(number)) for number, one in enumerate(files)}
            places = {path: os.path.join(place, os.path.basename(path)) for path, place in places.items()}
            names = re.compile("|".join(re.escape(path) for path in sorted(places, key=len, reverse=True)))
            for one in files:
                text = content(one)
                if one["path"] == given["path"]:
                    text = names.sub(lambda match: places[match.group()], text)
                os.mkdir(os.path.dirname(places[one["path"]]), 0o700)
                with open(places[one["path"]], "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                    file.write(text)
            entry = places[given["path"]]
            code, out, err = self.module.run_command([word.replace("%s", entry) for word in command])
            said = (err or out).strip()
            for path, place in places.items():
                said = said.replace(place, path)
        if code:
            self.refuse(
                f"{given['path']} and the files that it names would not be right: `{given['command']}` ends with {code}: {said}"
            )

    def link(self, given):
        """Have one symbolic link."""
        path, target = given["path"], given["target"]
        before = os.readlink(path) if os.path.islink(path) else None
        if before != target:
            if not self.module.check_mode:
                write_link(path, target)
            self.changed(path, f"-> {before}\n" if before else "", f"-> {target}\n")

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
        """Note the changes of a path."""
        self.paths.append(path)
        self.note(path, before, after)

    def note(self, what, before, after):
        """Note a change."""
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
    """The wanted content of a file."""
    return given["content"] if given["content"] is not None else given["secret_content"]


def shown_of(given, before, is_foreign):
    """Both sides of the diff of a file with secrets: without the lines that have one, or empty."""
    hidden = "(not shown)\n"
    if not given["hidden_lines"] or is_foreign:
        return hidden if before else "", hidden
    pattern = re.compile(rf"^({given['hidden_lines']}).*", re.MULTILINE)
    texts = [pattern.sub(r"\1(not shown)", text or "") for text in (before, content(given))]
    return (texts[0], texts[1]) if texts[0] != texts[1] else (hidden, f"{hidden}what is not shown changes\n")


def read(path):
    """The text of a file; None if there is none. Bytes that are not text differ from any text."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def ends_with(path, text):
    """Whether a file is there and these are its last characters."""
    try:
        with open(path, "rb") as file:
            file.seek(-len(text), os.SEEK_END)
            return file.read() == text.encode()
    except OSError:
        return False
