# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run a Python program of the release with the log of an instance: what it logs and prints becomes lines of the same format.

`run.py` starts `python program_log.py` with what `python` itself would get: FILE, or -m MODULE, and arguments. The program keeps its
process, its arguments and its name `__main__`. Its output still goes through supervisor into APP.NAME.log. Everything else, such as
native code and child processes, writes there as it is.

Nothing of gunicorn and gevent is imported: a program that uses gevent patches the standard library itself, and ssl must not be there yet.
"""

from __future__ import annotations

import ast
import logging
import os
import pkgutil
import runpy
import sys
from pathlib import Path

from . import log_capture
from .instance_log import Handler, Settings, configure, instance_log
from .log_line import Redaction


def settings_in(text: str) -> tuple[dict, str]:
    """What a pygun.py gives the Runtime, and its loglevel, without running it: that would take the sockets of an instance."""
    given, level = {}, "info"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "Runtime":
            for word in node.keywords:
                if word.arg and isinstance(word.value, (ast.Constant, ast.List, ast.Tuple)):
                    given[word.arg] = ast.literal_eval(word.value)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            level = node.value.value if "loglevel" in names else level
    return given, str(level)


def install(release: Path) -> None:
    """Have everything that this process says become lines of the app's format, on file descriptor 1."""
    given, level = settings_in((release / "pygun.py").read_text(encoding="utf-8-sig"))
    secrets = [os.environ[name] for name in given.get("log_redact", ()) if os.environ.get(name)]
    configure(
        Settings(
            app=given.get("app", "app"),
            release=release.name,
            instance=os.environ.get("SUPERVISOR_PROCESS_NAME"),
            format=given.get("log_format", "json"),
            to=("file", *given.get("log_to", ())),  # supervisor has it in any case
            redaction=Redaction(given.get("log_query", True), given.get("log_redact", ()), secrets),
        )
    )
    root = logging.getLogger()
    root.addHandler(Handler(instance_log()))
    root.setLevel(getattr(logging, level.upper(), logging.INFO))
    log_capture.install(instance_log().say, instance_log().say_record)
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # Celery's handler writes to these


def run(words: list[str]) -> None:
    """Run what `python WORDS` would run, in the place of this program."""
    if words[0] == "-m":
        sys.argv = words[1:]
        sys.path.insert(0, os.getcwd())
        runpy._run_module_as_main(words[1])  # as python itself does it, and debuggers
        return
    file = os.path.abspath(words[0])
    sys.argv = words
    if pkgutil.get_importer(file):  # a folder or a zip file with a __main__.py
        sys.path.insert(0, file)
        runpy._run_module_as_main("__main__", alter_argv=False)
        return
    sys.path.insert(0, os.path.dirname(os.path.realpath(file)))
    code = compile(Path(file).read_bytes(), file, "exec", dont_inherit=True)  # or it had the annotations of this file
    names = sys.modules["__main__"].__dict__
    for name in [name for name in names if name not in ("__name__", "__builtins__")]:
        del names[name]
    names.update(__file__=file, __doc__=None, __package__=None, __spec__=None, __loader__=None, __cached__=None)
    exec(code, names)  # noqa: S102


def start(words: list[str]) -> None:
    """Install the log, if that works, and run the program in any case."""
    try:
        install(Path(__file__).resolve().parents[2])
    except Exception as error:
        print(f"pygun: the log of this program is plain text: {type(error).__name__}: {error}", file=sys.stderr)
    run(words)
