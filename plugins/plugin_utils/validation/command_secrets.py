# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A command with a secret in it: the process list, units and state.json show commands to every user of the host."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator

from ...module_utils.release.commands import commands_from, text_of
from ...module_utils.supervisor.release_programs import command_text
from .rules import Values, between

#: A password in an address, unless a shell puts it in.
_PASSWORD = re.compile(r"://[^/@:\s]*:(?![$%{])[^@/\s]+@")
_SECRET_NAME = re.compile(r"secret|passw|pwd|token|credential|api_?key|private", re.IGNORECASE)
#: Of things that are not secret themselves.
_NOT_ITSELF = re.compile(
    r"_(?:file|path|dir|directory|name|type|header|algorithm|id|host|user|url|uri)$", re.IGNORECASE
)
#: A shorter value is found in texts that have nothing to do with it.
_SHORTEST = 8


@between
def _secrets(values: Values) -> Iterator[tuple[str, str]]:
    secrets = {
        name: str(value)
        for name, value in values["flask_app_env"].items()
        if _SECRET_NAME.search(name) and not _NOT_ITSELF.search(name) and len(str(value)) >= _SHORTEST
    }
    for variable, subject, text in _commands(values):
        held = next((name for name, value in secrets.items() if value in text), "")
        what = f"the value of {held} (flask_app_env)" if held else "a password" if _PASSWORD.search(text) else ""
        if what:
            yield (
                variable,
                f"{subject}holds {what}, which the list of processes and files of the host would show. Put it into flask_app_env, where the"
                " program finds it: Celery reads BROKER_URL, RQ reads RQ_REDIS_URL, and [sh, -c, 'exec PROGRAM \"$NAME\"'] gives it to any other.",
            )


def _commands(values: Values) -> Iterator[tuple[str, str, str]]:
    for variable in ("flask_app_release_command", "flask_app_release_command_state"):
        yield variable, "", text_of(commands_from(values[variable]))
    for variable in ("flask_app_programs", "flask_app_jobs"):
        entries: list[dict[str, t.Any]] = values[variable]
        for entry in entries:
            yield variable, f"{entry['name']}: the command ", command_text(entry["command"])
