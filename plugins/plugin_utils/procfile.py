# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads the Procfile of a source, and says which variables mean the same. Nothing of it is applied in silence."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import typing as t
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..module_utils.release.commands import commands_from
from ..module_utils.supervisor.release_programs import program_in
from . import own_gunicorn
from .pack import Collected
from .requirement_files import decoded
from .validation.jobs import calendars_of_cron

_LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(.+)")
_LARGEST = 64 * 1024
#: Programs of a web line, before options and the app.
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*(\([^)]*\))?")
#: A line of piku's: five fields of cron, and a command.
_CRON = re.compile(r"((?:\S+\s+){4}\S+)\s+(.+)")


def notes_of_deploy(collected: Collected, args: dict[str, t.Any], pygun_py: str) -> list[str]:
    """What a source says of how it is started, and the arguments of a deploy do not."""
    if not collected.source:
        return []
    source, files = Path(collected.source), {entry.path.removeprefix("src/") for entry in collected.entries}
    activation, wsgi = args.get("activation") or {}, (args.get("service") or {}).get("wsgi", "")
    of_lines = (
        notes(source, wsgi, activation.get("release_command"), activation.get("programs") or [])
        if "Procfile" in files
        else ()
    )
    return [*of_lines, *own_gunicorn.notes(source, files, pygun_py)]


def notes(source: Path, wsgi: str, release_command: object, programs: Iterable[dict[str, str]] = ()) -> Iterator[str]:
    """A sentence for each line of a Procfile that the variables do not say already.

    :param wsgi: flask_app_wsgi; empty if that is not known
    :param release_command: flask_app_release_command
    :param programs: the files of flask_app_programs. A program of the same name or command means the same as its line.
    """
    try:
        with (source / "Procfile").open("rb") as stream:
            text = decoded(stream.read(_LARGEST))
    except OSError:
        return
    files = [program_in(file["content"].encode(), file["path"]) for file in programs]
    declared = {text for program in files if program for text in (program.name, program.command)}
    for line in map(str.strip, text.splitlines()):
        match = _LINE.fullmatch(line)
        if match:
            kind, command = match.groups()
            shell = shlex.join(["sh", "-c", command.strip()])
            if kind in ("web", "release") or not {_name(kind), " ".join(command.split()), shell} & declared:
                yield from _of_line(kind, command.strip(), wsgi, release_command)


def _of_line(kind: str, command: str, wsgi: str, release_command: object) -> Iterator[str]:
    if kind == "web":
        target = next((word for word in _words(command) if _TARGET.fullmatch(word)), "")
        if target and wsgi and target != wsgi:
            yield f"The Procfile serves {target}, and flask_app_wsgi is {wsgi}, which counts. The line `web` has no effect."
    elif kind == "release":
        if not release_command:
            yield (
                f"The Procfile has a release command, which is not run. To run it once before a new release serves, set"
                f" flask_app_release_command: {_value(command)}."
            )
    elif kind.startswith("cron") and (job := _CRON.fullmatch(command)) and calendars_of_cron(job[1]):
        yield (
            f"The Procfile has a job, which is not started: {command}. To have systemd start it, add to flask_app_jobs:"
            f" {{name: {_name(kind)}, schedule: {json.dumps(calendars_of_cron(job[1])[0])}, command: {_value(job[2])}}}."
        )
    else:
        yield (
            f"The Procfile has a program {kind}, which is not started. To start it with each release, add to flask_app_programs:"
            f" {{name: {_name(kind)}, command: {_value(command)}}}."
        )


def _name(kind: str) -> str:
    """A name that a program of an app can have."""
    name = re.sub(r"^[^a-z]+", "", kind.lower())
    return name[:31] or "worker"


def _words(command: str) -> list[str]:
    """The words of a command, also without their quotes."""
    with contextlib.suppress(ValueError):
        return command.split() + shlex.split(command)
    return command.split()


def _value(command: str) -> str:
    """The command as YAML. A line of a Procfile is read by a shell."""
    command = re.sub(r"^exec\s+", "", command)
    command = f"env {command}" if re.match(r"[A-Za-z_]\w*=", command) else command
    try:
        commands_from(command)
        plain = not re.search(r"[$`*?~\\]", command)
    except ValueError:
        plain = False
    return json.dumps(command if plain else ["sh", "-c", command], ensure_ascii=False)
