# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks the variables of a role, and of the roles that it brings along, on the control node alone."""

from __future__ import annotations

from pathlib import Path

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import Templar

from ansible_collections.pygun.stack.plugins.plugin_utils import balancer, requirement_files, validate

ROLES = Path(__file__).parents[2] / "roles"
#: Each role with those that it brings along: their variables are part of the same play.
BROUGHT = {
    "flask_app": ("flask_app", "supervisor", "python"),
    "load_balancer": ("load_balancer",),
    "supervisor": ("supervisor", "python"),
    "python": ("python",),
}


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset(("role",))

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        role = self._task.args.get("role")
        if role not in BROUGHT:
            raise AnsibleError(f"validate: role is one of {', '.join(BROUGHT)}, not {role}.")
        if self._brought_along(role):
            return {**result, "changed": False, "skipped": True, "skip_reason": "Checked with the role that brings it."}
        report, values = self._check(role, task_vars)
        if role == "flask_app":
            apps = [(values.get("flask_app_name"), values.get("flask_app_bind"))]
            for later in self._later_apps(task_vars):
                report.problems += self._ahead(role, later, apps)
        result["warnings"] = [f"{name}{text}" for name, text in report.warnings]
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
        """What is wrong with the variables of a role, and those that could be worked out.

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
                    told = "" if options[name].get("no_log") else f" {error}"
                    unknown.append((name, f" cannot be worked out: correct its template.{told}"))
        report = validate.check(
            {name: option for name, option in options.items() if name not in dict(unknown)},
            values,
            int((task_vars.get("ansible_facts") or {}).get("memtotal_mb", 0)),
        )
        if not ahead:
            report.problems = unknown + report.problems
        report.problems += self._on_control_node(values, dict(report.problems))
        report.problems += self._servers(values, dict(report.problems), task_vars)
        report.warnings += validate.misspelt(options, task_vars)
        return report, values

    def _later_apps(self, task_vars):
        """The variables of the apps that the same play deploys after this one, as far as they are certain already.

        Only what stands under `roles:` is known before its turn comes, and only while no other role comes in between: that
        could still change what the variables are made of.
        """
        play, chain = self._task._role._play, self._task.get_dep_chain() or []
        roles = [role for role in play.roles if not role.from_include]
        place = next((number for number, role in enumerate(roles) if any(role is parent for parent in chain)), None)
        host = task_vars["inventory_hostname"]
        if place is None or play.skip_tags or set(play.only_tags) != {"all"}:
            return
        if any(role.get_name() == "pygun.stack.flask_app" and role.has_run(host) for role in roles[:place]):
            return  # that one has looked ahead
        for role in roles[place + 1 :]:
            if role.get_name() not in {f"pygun.stack.{name}" for name in BROUGHT}:
                return
            if role.get_name() != "pygun.stack.flask_app" or role.when or role.tags or role.delegate_to:
                continue
            manager = role.get_variable_manager()
            task = next((task for block in role.get_task_blocks() for task in block.block), None)
            if task is not None:
                yield manager.get_vars(play=play, host=manager._inventory.get_host(host), task=task)

    def _ahead(self, role, task_vars, apps):
        """What is wrong with an app that comes later in the play."""
        report, values = self._check(role, task_vars, ahead=True)
        name, bind = values.get("flask_app_name"), values.get("flask_app_bind")
        for other, taken in apps:
            if name != other and isinstance(bind, str) and isinstance(taken, str) and validate.collide(bind, taken):
                report.problems.append(
                    ("flask_app_bind", f" is {bind!r}, and that of {other} is {taken!r}. Choose another port.")
                )
        apps.append((name, bind))
        for variable, text in report.problems:
            yield variable, f"{text} (In the app {name}, later in this play.)"

    def _options(self, roles):
        options = {}
        for role in roles:
            spec = self._loader.load_from_file(str(ROLES / role / "meta" / "argument_specs.yml"), cache="all")
            options.update(spec["argument_specs"]["main"]["options"])
        return options

    def _on_control_node(self, values, wrong):
        """What has to be there before a release can be packed."""
        source, found = values.get("flask_app_src"), None
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
                        f" names {path}, and there is no such file on the control node. Correct it.",
                    )
            for path in values.get("flask_app_requirements") or ["requirements.txt"]:
                if path.startswith("/") or found is not None:
                    for text in requirement_files.strange(Path(path) if found is None else found / path):
                        yield "flask_app_requirements", f": {text}"

    def _servers(self, values, wrong, task_vars):
        """Who serves behind a balancer: the inventory has to tell, and the files have to be there."""
        if values.get("load_balancer_services") and "load_balancer_services" not in wrong:
            try:
                balancer.services(values["load_balancer_services"], task_vars["groups"], task_vars["hostvars"])
            except balancer.BalancerError as error:
                yield "load_balancer_services", f": {error}"
        if "load_balancer_certificates" not in wrong:
            for path in values.get("load_balancer_certificates", ()):
                found = self._found(path)
                if found is None or not found.is_file():
                    yield "load_balancer_certificates", f" names {path}, and there is no such file on the control node."

    def _found(self, source):
        try:
            return Path(self._find_needle("files", source))
        except AnsibleError:
            return None


def plain(value):
    """A value made of Python's own types: what a vault holds becomes the text that it is."""
    if isinstance(value, dict):
        return {plain(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if type(value).__name__ == "EncryptedString":
        return str(value)
    return value
