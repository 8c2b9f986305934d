# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Names of variables that no role and no playbook of the collection reads."""

from __future__ import annotations

import difflib
import re
import typing as t
from collections.abc import Iterator

#: Variables of the playbooks, besides those of the roles and those that the balancer reads of its hosts.
OF_PLAYBOOKS = {
    "command",
    "confirm",
    "doctor_format",
    "flask_app_across_release_command",
    "flask_app_drain_timeout",
    "flask_app_force",
    "flask_app_hosts",
    "flask_app_instance",
    "flask_app_max_fail_percentage",
    "flask_app_reboot",
    "flask_app_reboot_timeout",
    "flask_app_release",
    "flask_app_serial",
    "load_balancer_address",
    "load_balancer_hosts",
    "logs_format",
    "logs_instance",
    "logs_level",
    "logs_lines",
    "logs_raw",
    "logs_regex",
    "logs_request_id",
    "logs_since",
    "logs_text",
    "run_timeout",
    "status_file",
    "status_format",
    "uninstall_apps",
    "uninstall_data",
    "uninstall_everything",
}
_OF_ROLES = ("flask_app_", "load_balancer_", "supervisor_", "python_")
#: Variables of others begin so as well: only a name that is like one of ours is ours.
_SHARED = ("doctor_", "logs_", "run_", "status_", "uninstall_")
#: How alike the nearest name is (1 is the same): to be named, and to be meant where no prefix tells.
_NAMED, _MEANT = 0.6, 0.8


def unread(
    options: t.Collection[str], variables: t.Mapping[str, t.Any], given: t.Collection[str] = ()
) -> Iterator[tuple[str, str]]:
    """Variables that no role or playbook reads, with names like those of the collection.

    :param options: the variables of the roles
    :param variables: all variables of a host, not templated: what one of them is made of is read
    :param given: those of the command line, which are for this run
    """
    known = {*options, *OF_PLAYBOOKS}
    texts: list[str] | None = None
    for name in sorted(name for name in {*variables, *given} - known if not name.startswith("ansible_")):
        near = _nearest(name, known, name in given)
        if not (name.startswith(_OF_ROLES) or (near and (name in given or name.startswith(_SHARED)))):
            continue
        texts = list(_templates(variables)) if texts is None else texts
        if not any(re.search(rf"\b{re.escape(name)}\b", text) for text in texts):
            yield name, f" is no variable of pygun.stack and has no effect{f'; is {near} meant?' if near else '.'}"


def _nearest(name: str, known: t.Iterable[str], given: bool) -> str:
    """The known name that is most like this one; empty if none is like it."""
    least = _NAMED if name.startswith(_OF_ROLES) or (given and name.startswith(_SHARED)) else _MEANT
    if given:
        without_prefix = [one for one in known if one.endswith(f"_{name}")]
        if len(without_prefix) == 1:
            return without_prefix[0]
    return next(iter(difflib.get_close_matches(name, sorted(known), 1, least)), "")


def _templates(value: t.Any, depth: int = 0) -> Iterator[str]:
    """The texts in variables that have a template in them; not what Ansible itself adds."""
    if isinstance(value, str):
        if "{{" in value or "{%" in value:
            yield value
    elif isinstance(value, (dict, list, tuple)) and depth < 20:
        for key in value if isinstance(value, dict) else range(len(value)):
            if depth or key not in ("ansible_facts", "groups", "hostvars", "vars"):
                yield from _templates(value[key], depth + 1)
