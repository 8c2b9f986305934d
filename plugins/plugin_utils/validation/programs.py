# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules about the programs of an app's release."""

from __future__ import annotations

import difflib
import re
import typing as t
from collections.abc import Iterator

from ...module_utils.release import shell_text
from ...module_utils.supervisor import program_settings
from ...module_utils.supervisor.release_programs import SETTINGS, SINGLETON, command_text, process_names
from ..text import shown
from .rules import Values, between, rule
from .supervisor import check_setting
from .value_types import check_characters, check_type, typed, yaml_kind

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
_ALWAYS_RUNS = "a program of an app starts with it and is kept running. Leave it out"
#: Why a setting of supervisor is not taken here.
_NOT_TAKEN = {
    "user": "the program runs as the app's user (flask_app_user). Leave it out",
    "directory": "the program runs in the source's directory of its release. Leave it out",
    "environment": "the program has the app's environment. Put it into flask_app_env",
    "group": "each program is a group of its own. Leave it out",
    "autostart": _ALWAYS_RUNS,
    "autorestart": _ALWAYS_RUNS,
    "exitcodes": _ALWAYS_RUNS,
    "startretries": "supervisor tries for ever, as with an instance. Leave it out",
    "stdout_logfile": "the log is APP.NAME.log in flask_app_log_dir, and is rotated as the app's. Leave it out",
    "stderr_logfile": "both streams go to APP.NAME.log in flask_app_log_dir. Leave it out",
}
#: The command as it will stand behind a launcher: what rules of any program forbid at its beginning is possible here.
_LAUNCHED = "/srv/NAME/current/run "


@rule("flask_app_programs")
def _programs(values: list[dict]) -> Iterator[str]:
    for number, entry in enumerate(values, 1):
        name = entry.get("name")
        subject = name if isinstance(name, str) and _NAME.fullmatch(name) else f"entry {number}"
        yield from (f"{subject}: {text}" for text in _entry(entry))


def _entry(entry: dict) -> Iterator[str]:
    right = {}
    for name, value in entry.items():
        found = list(_setting(name, value))
        yield from found
        if not found and name != SINGLETON:
            right[name] = typed(
                {"type": program_settings.PROGRAM[name]}, command_text(value) if name == "command" else value
            )
    name, command = right.get("name"), right.get("command")
    if name and not _NAME.fullmatch(name):
        yield (
            f"name is {shown(name)}: write lower-case letters, digits, - and _, beginning with a letter, 31 characters at most."
        )
    if command and re.match(r"~|[^\s]*\$", command.strip()):
        yield f"command begins with {shown(command.split()[0])}: supervisor starts no shell that would replace ~ or $. Write the path."
    elif command and shell_text.beginning(command.split()[0]):
        yield f"command begins with {shown(command.split()[0])}, which only a shell understands. Write sh -c '...' around it."
    if right.get("startsecs") == 0:
        yield "startsecs is 0: write 1 or more. The deploy waits for that long to see whether the program stays up."
    rejected = {*(entry.keys() - right.keys()), "user"}
    launched = {**right, "command": _LAUNCHED + command} if command and command.strip() else right
    yield from program_settings.problems("program", {**launched, "name": "name"} if name else launched, rejected)


def _setting(name: t.Any, value: t.Any) -> Iterator[str]:
    """The problems of one setting by itself."""
    if not isinstance(name, str):
        yield f"the name {shown(name)} is {yaml_kind(name)}. Put it in quotes."
    elif name == SINGLETON:
        yield from (f"{name}: {text}" for text in check_type("bool", {}, value))
    elif name == "command" and isinstance(value, (list, tuple)):
        if all(isinstance(word, str) for word in value):
            yield from (f"{name}: {text}" for text in check_characters(value, ascii_only=False))
        else:
            yield f"{name}: a word of the list is no text. Put it in quotes."
    elif name == "command" and not isinstance(value, str):
        yield f"{name}: write a text or a list of words; this is {yaml_kind(value)}."
    elif name in SETTINGS:
        yield from (f"{name}: {text}" for text in check_setting("program", name, value))
    elif name in _NOT_TAKEN:
        yield f"{name} is not taken: {_NOT_TAKEN[name]}."
    elif name in program_settings.PROGRAM:
        yield f"{name} is not taken for a program of an app. Leave it out, or declare the program in supervisor_programs."
    else:
        found = list(check_characters(name, True, f"the name {shown(name)}: "))
        known = [*SETTINGS, SINGLETON]
        near = difflib.get_close_matches(name.strip().lower().replace("-", "_"), known, 1)
        hint = f"is {near[0]} meant? Correct it." if near else f"there are {', '.join(known)}."
        yield from found or [f"{shown(name)} is no setting of a program; {hint}"]


@between
def _names(values: Values) -> Iterator[tuple[str, str]]:
    """Names in supervisor, and of logs, that two of them claim."""
    app, seen = values["flask_app_name"], {}
    for entry in values["flask_app_programs"]:
        if entry["name"] == app:
            yield "flask_app_programs", f"has {app}, the name of the app. Choose another."
        if entry["name"] in {job["name"] for job in values["flask_app_jobs"]}:
            yield "flask_app_programs", f"has {entry['name']}, the name of a job (flask_app_jobs). Choose another."
        if entry["name"].startswith("job-"):
            yield (
                "flask_app_programs",
                f"has {entry['name']}: names that begin so are those of the logs of jobs. Choose another.",
            )
        for process in process_names(entry["name"], int(entry.get("numprocs") or 1)):
            if process in seen:
                yield (
                    "flask_app_programs",
                    f"has a name twice: {process} is a process of {seen[process]} and of {entry['name']}. Choose another name.",
                )
                break
            seen[process] = entry["name"]


@between
def _names_of_others(values: Values) -> Iterator[tuple[str, str]]:
    app = values["flask_app_name"]
    for variable in ("supervisor_programs", "supervisor_listeners"):
        for entry in values[variable]:
            for name in (entry["name"], entry.get("group") or ""):
                if name.startswith(f"{app}."):
                    yield variable, f"has {name}: names that begin so are those of flask_app_programs. Choose another."


@between
def _time_to_stop(values: Values) -> Iterator[tuple[str, str]]:
    patience = values["supervisor_stop_timeout"]
    for entry in values["flask_app_programs"]:
        if int(entry.get("stopwaitsecs") or 0) >= patience:
            yield (
                "flask_app_programs",
                f"gives {entry['name']} {entry['stopwaitsecs']} s to stop (stopwaitsecs), and supervisor_stop_timeout is {patience} s:"
                " systemd would end supervisord before. Raise supervisor_stop_timeout.",
            )
