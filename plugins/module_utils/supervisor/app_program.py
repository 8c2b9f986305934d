# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The program of an app, as supervisor's configuration describes it: the one reader of an app's program.

Which release runs, and what that serves, the release says itself (`release/record.py`).
The standard library alone: on a host the tools have a copy of this file.
"""

from __future__ import annotations

import configparser
import dataclasses
import os
import typing as t

from .conf import STOPWAITSECS, get, variables


@dataclasses.dataclass(frozen=True)
class AppProgram:
    """A program that runs instances of an app. Empty, 0 and the like is what its section does not say."""

    name: str = ""
    root: str = ""
    user: str = ""
    bind: str = ""  # as flask_app_bind has it
    instances: int = 0
    run_dir: str = ""
    log_dir: str = ""
    by_systemd: bool = False
    stop_timeout: float = STOPWAITSECS


def app_programs(parser: configparser.RawConfigParser) -> t.Iterator[AppProgram]:
    """The programs of apps in a file of supervisor."""
    for section in parser.sections():
        kind, _sep, name = section.partition(":")
        command = get(parser, section, "command")
        if kind in ("program", "fcgi-program") and "/pygun_runtime/launch.py" in command:
            environment = variables(get(parser, section, "environment"))
            instances = environment.get("PYGUN_INSTANCES", "")
            stop_timeout = get(parser, section, "stopwaitsecs")
            yield AppProgram(
                name=name.strip(),
                root=command.partition("/current/")[0],
                user=get(parser, section, "user").partition(":")[0].strip(),
                bind=get(parser, section, "socket").removeprefix("tcp://").replace("unix://", "unix:"),
                instances=int(instances) if _is_number(instances) else 0,
                run_dir=environment.get("PYGUN_RUN_DIR", ""),
                log_dir=os.path.dirname(get(parser, section, "stdout_logfile")),
                by_systemd="PYGUN_SOCKET_KEEPER" in environment,
                stop_timeout=float(stop_timeout) if _is_number(stop_timeout) else STOPWAITSECS,
            )


def program_of(parser: configparser.RawConfigParser, app: str) -> AppProgram:
    """The program of an app in a file of supervisor; one that says nothing if the file has none."""
    return next((program for program in app_programs(parser) if program.name == app), AppProgram(app))


def _is_number(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) < 10
