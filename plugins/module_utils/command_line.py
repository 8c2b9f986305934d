# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The command `pygun` on a host. It shows of this host what the playbooks show of all, and runs commands in a release of an app.

It comes to the host as an archive of `module_utils` (plugin_utils/command_archive.py), and has no words of its own for what a module
returns.
"""

# This is a program and not a module, so it may print.
# pylint: disable=ansible-bad-function

from __future__ import annotations

import argparse
import os
import re
import socket
import sys
import time
import typing as t

from .host import places
from .host.inspection import read_text
from .supervisor.others import UNIT

_UNIT_PLACES = re.compile(
    r"^ExecStart=(\S+)/supervisor/bin/python .* --configuration (\S+)/supervisord\.conf$", re.MULTILINE
)
_EPILOG = "All of them need root. From the control node, for all hosts: ansible-playbook pygun.stack.COMMAND."


def main(words: t.Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    given, command = _split(sys.argv[1:] if words is None else words)
    options = _parser().parse_args(given)
    if options.command == "run":
        options.words = [*options.words, *command]
    if os.geteuid() != 0:
        print(f"pygun {options.command} needs root: sudo pygun {options.command} ...", file=sys.stderr)
        return 1
    try:
        return options.function(options)
    except BrokenPipeError:  # of a pager that was left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _split(words: t.Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments before the first `--`, and those after it."""
    words = list(words)
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def _parser() -> argparse.ArgumentParser:
    tools_dir, conf_dir = _places()
    parser = argparse.ArgumentParser("pygun", description="The apps of this host.", epilog=_EPILOG, allow_abbrev=False)
    parser.add_argument("--base-dir", default=places.BASE_DIR, help="directory of the apps (%(default)s)")
    parser.add_argument("--conf-dir", default=conf_dir, help="directory of supervisor's configuration (%(default)s)")
    parser.set_defaults(tools_dir=tools_dir)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(function: t.Callable[..., int], text: str, app: str) -> argparse.ArgumentParser:
        one = commands.add_parser(function.__name__.strip("_"), help=text, description=text, allow_abbrev=False)
        one.set_defaults(function=function)
        one.add_argument("app", metavar="APP", **({"nargs": "?", "default": ""} if app == "optional" else {}))
        return one

    add(_status, "Show what runs, and whether it is as it should be.", "optional")
    add(_doctor, "Say what is wrong, why, and what to do.", "optional")
    logs = add(_logs, "Show the last lines of the logs.", "optional")
    logs.add_argument("--instance", default="", help="one instance, such as scoring-0")
    logs.add_argument("--lines", type=int, default=100, help="how many lines at most (%(default)s)")
    logs.add_argument("--since", default="", help="not older than that, such as 10m, 2h, or 2026-01-31T14:30")
    logs.add_argument("--level", default="", help="of this level or a higher one")
    logs.add_argument("--request-id", default="", help="what this request has caused")
    logs.add_argument("--text", default="", help="with this text")
    logs.add_argument("--regex", default="", help="in which this regular expression is found")
    logs.add_argument("--no-raw", dest="raw", action="store_false", help="without the raw logs")
    logs.add_argument("--format", choices=("text", "json"), default="text")
    restart = add(_restart, "Restart the instances one after the other, without losing a request.", "required")
    restart.add_argument("--instance", default="", help="only this one, such as scoring-0")
    run = add(
        _run,
        "Run a command as the app's user, with its environment, in a release: pygun run APP -- flask shell",
        "required",
    )
    run.add_argument(
        "--release", default="", metavar="ID", help="the release, by its id or the beginning of it (the current one)"
    )
    run.add_argument(
        "words",
        nargs="*",
        metavar="PROGRAM",
        help="the program and its arguments; those that begin with - come after --",
    )
    run.usage = "pygun run APP [--release ID] -- PROGRAM [ARGUMENT]..."
    return parser


def _places() -> tuple[str, str]:
    """The folders of the tools and of supervisor's configuration, as supervisord's unit has them."""
    match = _UNIT_PLACES.search(read_text(UNIT))
    return match.groups() if match else (places.TOOLS_DIR, places.CONF_DIR)


def _refuse(text: t.Any) -> int:
    print(f"pygun: {text}", file=sys.stderr)
    return 1


# Each imports what it needs: a command must not wait for the modules of the others.


def _status(options: argparse.Namespace) -> int:
    from .status import Options, Status
    from .status_table import table

    found = Status(Options(options.app, options.base_dir, options.conf_dir)).look()
    print(table({socket.gethostname(): found}))
    return 0 if found["ok"] else 1


def _doctor(options: argparse.Namespace) -> int:
    from .doctor.examination import examine
    from .doctor.report import in_words
    from .doctor.state import Options

    found = examine(Options(options.app, options.base_dir, options.conf_dir, options.tools_dir))
    print(in_words(socket.gethostname(), found))
    return 1 if any(one["severity"] == "error" for one in found["findings"]) else 0


def _logs(options: argparse.Namespace) -> int:
    from .log_reader import LogError, Query, find_logs, read
    from .log_text import FORMATS, merged

    names = ("lines", "since", "level", "request_id", "text", "regex", "raw")
    try:
        query = Query.parse(now=time.time(), **{name: getattr(options, name) for name in names})
        logs = find_logs(options.base_dir, options.conf_dir, options.app, "", options.instance)
    except LogError as error:
        return _refuse(f"The logs were not read: {error}")
    host, entries = socket.gethostname(), [entry.as_dict() for entry in read(logs, query)]
    print(FORMATS[options.format](merged({host: entries}, options.lines)) or f"No line in the logs of {host}.")
    return 0


def _restart(options: argparse.Namespace) -> int:
    from .activation.errors import ActivationError
    from .control import Options, control

    by = os.environ.get("SUDO_USER") or os.environ.get("USER") or "root"
    asked = Options(options.app, "restarted", options.instance, False, options.base_dir, options.conf_dir, by)
    try:
        result = control(asked, lambda text: print(f"pygun: {text}", file=sys.stderr), False)
    except ActivationError as error:
        return _refuse(error)
    for one in [*result["instances"], *result["programs"]]:
        ready = f", ready after {one['ready_s']:g} s" if one.get("ready_s") else ""
        print(f"{one['name']}: {one['action']}{ready}, release {one['release']}, pid {one['pid']}")
    return 0


def _run(options: argparse.Namespace) -> int:
    from .one_off import Refused, prepare

    try:
        return prepare(options.base_dir, options.conf_dir, options.app, options.release, options.words).in_terminal()
    except Refused as error:
        return _refuse(error)
    except OSError as error:
        return _refuse(f"The command cannot be started: {error}")
