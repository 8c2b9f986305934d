# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Check the values of the roles' variables before anything is changed.

The argument specs say the type of a variable. The rules here say the rest: safe as a name, inside the
right directory, in agreement with the others. Everything that is wrong is found at once.

A rule is a generator. One that belongs to a variable takes its value and yields its problems; one that belongs to
several takes all values and yields pairs of a variable and a problem. A text says what is wrong and what to do.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterator

from ..text import shown
from . import (
    accelerators,
    addresses,
    app_files,
    command_secrets,
    flask_app,
    gunicorn,
    jobs,
    load_balancer,
    memory,
    places,
    programs,
    python,
    ranges,
    supervisor,
)
from .addresses import closed_socket
from .flask_app import unbounded_logs, unseen_within
from .memory import too_many_workers
from .places import check_host_path
from .rules import BETWEEN, RULES, Unusable, Values
from .value_types import check_characters, check_type, typed

#: Each registers its rules when it is imported.
RULE_MODULES = (
    accelerators,
    addresses,
    app_files,
    command_secrets,
    flask_app,
    gunicorn,
    jobs,
    load_balancer,
    memory,
    places,
    programs,
    python,
    ranges,
    supervisor,
)

# Text that may hold any character that can be written into a file.
_FREE = {
    "flask_app_env",
    "flask_app_jobs",
    "flask_app_programs",
    "flask_app_pygun_extra",
    "supervisor_listeners",
    "supervisor_programs",
}
# Names on the control node, or shown to people: any letter of any language.
_ANY_LETTER = {
    "flask_app_deployed_by",
    "flask_app_exclude",
    "flask_app_files",
    "flask_app_git_repo",
    "flask_app_gunicorn",
    "flask_app_include",
    "flask_app_requirements",
    "flask_app_shared_paths",
    "flask_app_src",
    "python_wheelhouse",
    "load_balancer_certificates",
    "load_balancer_stats_password",
    "supervisor_http_password",
}
# Variables whose defaults are made of another one.
_MADE_OF = {
    "flask_app_user": ("flask_app_name", "{}"),
    "flask_app_group": ("flask_app_user", "{}"),
    "flask_app_log_dir": ("flask_app_name", "/var/log/{}"),
}


class Report:
    """The result of a check: ``problems`` forbid the run, ``warnings`` do not. Both are pairs of a variable and what follows it."""

    def __init__(self) -> None:
        self.problems: list[tuple[str, str]] = []
        self.warnings: list[tuple[str, str]] = []

    def text(self, role: str) -> str:
        """All problems, as a person reads them."""
        count = len(self.problems)
        lines = [f"{'A variable' if count == 1 else f'{count} variables'} of pygun.stack.{role} cannot be used:"]
        if count > 1 and len({name for name, _text in self.problems}) != count:
            lines = [f"{count} things are wrong with the variables of pygun.stack.{role}:"]
        lines += [f"- {name}{text}" for name, text in self.problems]
        return "\n".join([*lines, "Nothing was changed."])


def check(options: dict[str, dict], values: dict[str, t.Any], memory_mb: int = 0) -> Report:
    """Check the variables of roles.

    :param options: the argument spec of each variable
    :param values: the variables that are defined, with nothing left to template
    :param memory_mb: the host's memory, if it is known
    """
    report = Report()
    good = {}
    for name, option in options.items():
        if name not in values:
            if option.get("required"):
                report.problems.append((name, " is not set. It has no default: set it."))
            continue
        found = list(_alone(name, option, values[name]))
        if found and _follows(name, values, good):
            continue
        if found:
            secret = option.get("no_log") or name in ("flask_app_env", "flask_app_gunicorn", "flask_app_pygun_extra")
            subject = "" if secret or isinstance(values[name], (list, dict)) else f" is {shown(values[name])}"
            report.problems += [(name, f"{subject}: {text}") for text in found]
        else:
            good[name] = typed(option, values[name])
    usable = Values(good)
    for function in BETWEEN:
        try:
            report.problems += [(name, f" {text}") for name, text in function(usable)]
        except Unusable:
            pass
    report.problems = list(dict.fromkeys(report.problems))
    report.warnings += [(name, f" {text}") for name, text in _suspicions(usable, memory_mb)]
    return report


def _follows(name: str, values: dict[str, t.Any], good: dict[str, t.Any]) -> bool:
    """Whether a variable is wrong only because the one that its default is made of is."""
    if name not in _MADE_OF:
        return False
    source, pattern = _MADE_OF[name]
    return source in values and source not in good and values[name] == pattern.format(values[source])


def follows_from_nothing(name: str, option: dict, template: t.Any, values: dict[str, t.Any]) -> bool:
    """Whether a variable cannot be worked out only because the one that its default is made of is not there.

    :param template: what it is made of
    :param values: the variables that could be worked out
    """
    return name in _MADE_OF and _MADE_OF[name][0] not in values and template == option["default"]


def _alone(name: str, option: dict, value: t.Any) -> Iterator[str]:
    """The problems of a single value: of its type, then of its characters, then of its meaning."""
    kind = option.get("type", "str")
    found = list(check_characters(value, ascii_only=True)) if kind in ("int", "bool") and isinstance(value, str) else []
    found = found or list(check_type(kind, option, value))
    if not found and name not in _FREE:
        found = list(check_characters(value, ascii_only=name not in _ANY_LETTER))
    if not found and kind == "path" and value:
        found = list(check_host_path(value))
    if not found and name in RULES:
        found = list(RULES[name](typed(option, value)))
    yield from found


def _suspicions(values: Values, memory_mb: int) -> Iterator[tuple[str, str]]:
    for suspicion in (unseen_within, closed_socket, unbounded_logs, too_many_workers):
        try:
            yield from suspicion(values, memory_mb)
        except Unusable:
            pass
