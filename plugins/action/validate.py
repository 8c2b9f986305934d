# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks the variables of a role, and of the roles that it brings along, on the control node alone."""

from __future__ import annotations

from pathlib import Path

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.pygun.stack.plugins.plugin_utils import balancer, validate

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
        options = self._options(BROUGHT[role])
        values, report = {}, validate.Report()
        for name in options:
            if name in task_vars:
                try:
                    values[name] = plain(self._templar.template(task_vars[name]))
                except AnsibleError as error:
                    told = "" if options[name].get("no_log") else f" {error}"
                    report.problems.append((name, f" cannot be worked out: correct its template.{told}"))
        checked = validate.check(
            {name: option for name, option in options.items() if name not in dict(report.problems)},
            values,
            int((task_vars.get("ansible_facts") or {}).get("memtotal_mb", 0)),
        )
        report.problems += checked.problems
        report.problems += self._on_control_node(values, dict(report.problems))
        report.problems += self._servers(values, dict(report.problems), task_vars)
        report.warnings += validate.misspelt(options, task_vars)
        result["warnings"] = [f"{name}{text}" for name, text in (*checked.warnings, *report.warnings)]
        if report.problems:
            result["failed"] = True
            result["msg"] = report.text(role)
            result["variables"] = list(dict.fromkeys(name for name, _text in report.problems))
        return {**result, "changed": False}

    def _options(self, roles):
        options = {}
        for role in roles:
            spec = self._loader.load_from_file(str(ROLES / role / "meta" / "argument_specs.yml"), cache="all")
            options.update(spec["argument_specs"]["main"]["options"])
        return options

    def _on_control_node(self, values, wrong):
        """What has to be there before a release can be packed."""
        source = values.get("flask_app_src")
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
                    yield "flask_app_requirements", f" names {path}, and there is no such file on the control node."

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
