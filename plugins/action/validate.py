# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Check the variables of a role and of its dependencies, on the control node only."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import Templar
from ansible.utils.vars import load_extra_vars

from ..module_utils.release import server_packages
from ..plugin_utils import balancer, requirement_files
from ..plugin_utils.validation import addresses, check, names

ROLES = Path(__file__).parents[2] / "roles"
#: Each role with those that it brings along: their variables are part of the same play.
BROUGHT = {
    "flask_app": ("flask_app", "supervisor", "python"),
    "load_balancer": ("load_balancer",),
    "supervisor": ("supervisor", "python"),
    "python": ("python",),
}
#: Those of which a host has one, whatever brings them along.
OF_THE_HOST = ("supervisor", "python")


class Entry(t.NamedTuple):
    """An entry of `roles:`."""

    title: str
    brings: tuple[str, ...]
    own: set[str]
    variables: dict


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset(("role",))

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        role = self._task.args.get("role")
        if role is None:
            return {**result, "changed": False, "warnings": list(self._unread(task_vars))}
        if role not in BROUGHT:
            raise AnsibleError(f"validate: role is one of {', '.join(BROUGHT)}, not {role}.")
        if self._brought_along(role):
            return {**result, "changed": False, "skipped": True, "skip_reason": "Checked with the role that brings it."}
        report, values = self._check(role, task_vars)
        if role != "load_balancer":
            report.problems += self._torn(task_vars["inventory_hostname"])
        if role == "flask_app":
            apps = [(values.get("flask_app_name"), values.get("flask_app_bind"))]
            for later in self._later_apps(task_vars):
                report.problems += self._ahead(role, later, apps)
        result["warnings"] = [f"{name}{text}" for name, text in report.warnings] + list(self._unread(task_vars))
        if report.problems:
            result["failed"] = True
            result["msg"] = report.text(role)
            result["variables"] = list(dict.fromkeys(name for name, _text in report.problems))
        return {**result, "changed": False}

    def _brought_along(self, role):
        """Whether a role that checks this one's variables too has brought it along."""
        chain = [one.get_name() for one in self._task.get_dep_chain() or []]
        return any(
            role in brought and f"pygun.stack.{name}" in chain for name, brought in BROUGHT.items() if name != role
        )

    def _check(self, role, task_vars, ahead=False):
        """Return the problems of a role's variables, and the values that are known.

        :param ahead: the role's turn has not come: what its variables are made of may not be there yet
        """
        options = self._options(BROUGHT[role])
        templar = Templar(self._loader, task_vars)
        values, unknown = {}, []
        for name in options:
            if name in task_vars:
                try:
                    values[name] = plain(templar.template(task_vars[name]))
                except AnsibleError as error:
                    told = f" {error}"
                    if options[name].get(
                        "no_log"
                    ):  # names of variables are no secret; what else stands there may be one
                        undefined = re.search(r"'([A-Za-z_]\w*)' is undefined", told)
                        told = f" {undefined.group()}." if undefined else ""
                    unknown.append((name, f" cannot be worked out: correct its template.{told}"))
        report = check.check(
            {name: option for name, option in options.items() if name not in dict(unknown)},
            values,
            int((task_vars.get("ansible_facts") or {}).get("memtotal_mb", 0)),
        )
        if not ahead:
            causes = [
                (name, text)
                for name, text in unknown
                if not check.follows_from_nothing(name, options[name], task_vars[name], values)
            ]
            report.problems = causes + report.problems
        report.problems += self._on_control_node(values, dict(report.problems))
        report.problems += self._servers(values, dict(report.problems), task_vars)
        return report, values

    def _later_apps(self, task_vars):
        """The variables of the apps that the same play deploys after this one, as far as they are certain already.

        Only entries of `roles:` are known in advance, and only up to the first other role: it could still change the variables.
        """
        roles, place = self._under_roles()
        host = task_vars["inventory_hostname"]
        if place is None:
            return
        play = roles[place]._play
        if set(play.only_tags) != {"all"} or {"all", "untagged"} & set(play.skip_tags):
            return
        if any(role.get_name() == "pygun.stack.flask_app" and has_run(role, host) for role in roles[:place]):
            return  # that one has looked ahead
        for role in roles[place + 1 :]:
            if role.get_name() not in {f"pygun.stack.{name}" for name in BROUGHT}:
                return
            if role.get_name() != "pygun.stack.flask_app" or role.when or role.tags or role.delegate_to:
                continue
            yield variables_of(role, host)

    def _under_roles(self):
        """The entries of `roles:`, and the position of the one that this check is for; a role under `tasks:` has none."""
        role, chain = self._task._role, self._task.get_dep_chain() or []
        roles = [] if role is None else [one for one in role._play.roles if not one.from_include]
        return roles, next((number for number, one in enumerate(roles) if any(one is parent for parent in chain)), None)

    def _torn(self, host):
        """Variables of the host that differ between the entries of `roles:`.

        The variables of an entry hold for that entry only, so the last one to run the role supervisor would remove what the first
        has configured. Tags do not matter, since the next run may choose others.
        """
        roles, place = self._under_roles()
        given = [{*role._role_params, *role.vars} for role in roles]
        if place is None or not any(name.partition("_")[0] in OF_THE_HOST for names in given for name in names):
            return  # as nearly always, at no cost
        options = self._options(OF_THE_HOST)
        entries = self._entries(host, roles, place, given)
        for name, option in options.items():
            role = name.partition("_")[0]
            setters = [entry for entry in entries if name in entry.own]
            runners = [entry for entry in entries if role in entry.brings]
            seen = {id(entry): self._worked_out(name, entry.variables) for entry in setters + runners if setters}
            torn = ((one, other) for one in setters for other in runners if seen[id(one)] != seen[id(other)])
            setter, other = next(torn, (None, None))
            if setter is not None:
                how = "without it" if seen[id(other)] == option.get("default") else "with another value"
                yield (
                    name,
                    f" is set for the role entry {setter.title}, but {other.title} runs the role {role} too, {how}. A host has"
                    " one: set it in group_vars or in the play's vars.",
                )

    def _entries(self, host, roles, place, given):
        """The entries of `roles:` that certainly run on the host and bring a role of which a host has one."""
        ours = {f"pygun.stack.{name}": brings for name, brings in BROUGHT.items() if set(brings) & set(OF_THE_HOST)}
        entries = []
        for number, role in enumerate(roles):
            if role.get_name() not in ours or "never" in role.tags or role.delegate_to:
                continue
            variables = variables_of(role, host)
            runs = number == place or (has_run(role, host) if number < place else self._is_certain(role, variables))
            if runs:
                name = self._worked_out("flask_app_name", variables) if "flask_app" in ours[role.get_name()] else None
                title = f"{role.get_name()} ({name})" if isinstance(name, str) else role.get_name()
                entries.append(Entry(title, ours[role.get_name()], given[number], variables))
        return entries

    def _is_certain(self, role, task_vars):
        """Whether a role's condition is known to be true."""
        templar = Templar(self._loader, task_vars)
        try:
            return all(templar.evaluate_conditional(condition) for condition in role.when)
        except AnsibleError:
            return False

    def _worked_out(self, name, task_vars):
        """The value of a variable, or its template if the value is not known yet."""
        try:
            return plain(Templar(self._loader, task_vars).template(task_vars.get(name)))
        except AnsibleError:
            return task_vars[name]

    def _ahead(self, role, task_vars, apps):
        """The problems of an app that comes later in the play."""
        report, values = self._check(role, task_vars, ahead=True)
        name, bind = values.get("flask_app_name"), values.get("flask_app_bind")
        for other, taken in apps:
            if name != other and isinstance(bind, str) and isinstance(taken, str) and addresses.collide(bind, taken):
                report.problems.append(
                    ("flask_app_bind", f" is {bind!r}, and that of {other} is {taken!r}. Choose another port.")
                )
        apps.append((name, bind))
        for variable, text in report.problems:
            yield variable, f"{text} (In the app {name}, later in this play.)"

    def _unread(self, task_vars):
        """Warnings of variables that no role reads."""
        given = load_extra_vars(self._loader)
        options = self._options(BROUGHT["flask_app"] + BROUGHT["load_balancer"])
        return (f"{name}{text}" for name, text in names.unread(options, task_vars, given))

    def _options(self, roles):
        options = {}
        for role in roles:
            spec = self._loader.load_from_file(str(ROLES / role / "meta" / "argument_specs.yml"), cache="all")
            options.update(spec["argument_specs"]["main"]["options"])
        return options

    def _on_control_node(self, values, wrong):
        """Problems with the files on the control node that a release needs."""
        source, found, files = values.get("flask_app_src"), None, []
        if source and not values.get("flask_app_git_repo") and "flask_app_src" not in wrong:
            found = self._found(source)
            if found is None:
                yield (
                    "flask_app_src",
                    f" is {source!r}, and there is no such directory on the control node. Name the app's.",
                )
            elif not found.is_dir():
                yield (
                    "flask_app_src",
                    f" is {source!r}, which is not a directory. Name the directory that holds the app.",
                )
        if "flask_app_requirements" not in wrong:
            for path in values.get("flask_app_requirements", ()):
                if path.startswith("/") and not Path(path).is_file():
                    yield (
                        "flask_app_requirements",
                        f" names {path}, and this file does not exist on the control node. Correct it.",
                    )
            for path in values.get("flask_app_requirements") or ["requirements.txt"]:
                if path.startswith("/") or found is not None:
                    for text in requirement_files.strange(Path(path) if found is None else found / path):
                        yield "flask_app_requirements", f": {text}"
                    files.append(str(Path(path) if found is None else found / path))
        packages, overrides = (
            () if name in wrong else values.get(name) or () for name in ("flask_app_packages", "flask_app_overrides")
        )
        for where, why in server_packages.refused(server_packages.named((), files, packages), overrides):
            yield (where, why) if where in values else ("flask_app_requirements", f": {where}{why}")

    def _servers(self, values, wrong, task_vars):
        """Problems with the hosts behind a balancer in the inventory, and with the certificate files."""
        if values.get("load_balancer_services") and "load_balancer_services" not in wrong:
            try:
                balancer.services(values["load_balancer_services"], task_vars["groups"], task_vars["hostvars"])
            except balancer.BalancerError as error:
                yield "load_balancer_services", f": {error}"
        if "load_balancer_certificates" not in wrong:
            for path in values.get("load_balancer_certificates", ()):
                found = self._found(path)
                if found is None or not found.is_file():
                    yield (
                        "load_balancer_certificates",
                        f" names {path}, and this file does not exist on the control node. The path of a file next to the inventory begins with"
                        " {{ inventory_dir }}.",
                    )

    def _found(self, source):
        try:
            return Path(self._find_needle("files", source))
        except AnsibleError:
            return None


def variables_of(role, host):
    """The variables that the tasks of an entry of `roles:` see."""
    manager = role.get_variable_manager()
    task = next(task for block in role.get_task_blocks() for task in block.block)
    return manager.get_vars(play=role._play, host=manager._inventory.get_host(host), task=task)


def has_run(role, host):
    """Whether a role has run to its end on a host."""
    return role.has_run(role.get_variable_manager()._inventory.get_host(host))


def plain(value):
    """Convert a value to Python's own types, and a vault's value to its text."""
    if isinstance(value, dict):
        return {plain(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if type(value).__name__ == "EncryptedString":
        return str(value)
    return value
