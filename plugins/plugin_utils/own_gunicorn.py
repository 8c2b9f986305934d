# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Settings of gunicorn that a source brings along for another way to start it: options in a Procfile, and a gunicorn.conf.py.

Nothing of them is applied. A sentence says which of them the variables do not say as well.
"""

from __future__ import annotations

import ast
import contextlib
import json
import re
import shlex
import typing as t
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from .gunicorn_settings import COMMAND_LINE, SETTINGS
from .requirement_files import decoded

_LARGEST = 64 * 1024
#: Files that gunicorn reads by itself, or that many give it.
_FILES = ("gunicorn.conf.py", "gunicorn_conf.py", "gunicorn_config.py")
_SHORT = {
    "c": "config",
    "e": "raw_env",
    "k": "worker_class",
    "t": "timeout",
    "w": "workers",
}
#: What the host decides, or says in another way.
_UNIMPORTANT = set(
    "access_log_format accesslog bind capture_output chdir check_config config control_socket control_socket_disable daemon default_proc_name"
    " errorlog group logconfig logconfig_dict logconfig_json logger_class loglevel pidfile print_config proc_name raw_env reload reload_engine"
    " reload_extra_files spew syslog tmp_upload_dir umask user worker_tmp_dir wsgi_app".split()
)
#: Settings with a variable of their own.
_VARIABLES = {
    "preload_app": "flask_app_preload",
    **{
        name: f"flask_app_{name}"
        for name in (
            "worker_class",
            "threads",
            "worker_connections",
            "max_requests",
            "max_requests_jitter",
            "backlog",
            "timeout",
            "graceful_timeout",
            "keepalive",
        )
    },
}
_HOOKS = {name for name, kind in SETTINGS.items() if kind in ("callable", "post_request")}


class _Settings(t.NamedTuple):
    """What a file of settings, or a command line, says."""

    values: dict[str, t.Any]
    hooks: list[str]


def notes(source: Path, files: set[str], pygun_py: str) -> Iterator[str]:
    """A sentence for a Procfile and one for a file of settings, if they say something that the rendered *pygun_py* does not.

    :param files: paths in the source that a release has
    """
    if files.isdisjoint(("Procfile", *_FILES)):
        return
    ours = _from_file(pygun_py)
    options = _from_procfile(_text(source, "Procfile")) if "Procfile" in files else {}
    yield from _different("The Procfile gives gunicorn", _Settings(_without(options), []), ours)
    given = re.sub(r"^(?:file:)?(?:\./)?", "", str(options.get("config", "")))
    for name in dict.fromkeys((given, *_FILES)):
        if name in files and name.endswith(".py") and PurePosixPath(name).stem not in pygun_py:
            yield from _different(
                f"The source's {name}, which is not read, gives gunicorn", _from_file(_text(source, name)), ours
            )


def _different(beginning: str, theirs: _Settings, ours: _Settings) -> Iterator[str]:
    remedies, others, said = [], [], []
    for name, value in theirs.values.items():
        if name == "workers" and value != 1:  # which depends on the host
            continue
        if ours.values.get(name, _default(name, value)) == value:
            continue
        said.append(f"{name} = {value}")
        if name == "workers":
            remedies += ["flask_app_instances: 1", "flask_app_workers: 1"]
        elif name in _VARIABLES:
            remedies.append(f"{_VARIABLES[name]}: {json.dumps(value)}")
        else:
            others.append(f"{name}: {json.dumps(value)}")
    if others:
        remedies.append(f"flask_app_gunicorn: {{{', '.join(others)}}}")
    hooks = [name for name in theirs.hooks if name not in ours.hooks]
    if hooks:
        said.append(f"the hooks {', '.join(hooks)}" if len(hooks) > 1 else f"the hook {hooks[0]}")
        remedies.append("flask_app_pygun_extra, with the functions")
    if said:
        yield f"{beginning} {', '.join(said)}; the variables say otherwise, and count. To have the same, set {', '.join(remedies)}."


def _default(name: str, value: t.Any) -> t.Any:
    """What is not in pygun.py has gunicorn's default; a yes or no is a no."""
    return False if isinstance(value, bool) else None


def _without(options: dict[str, t.Any]) -> dict[str, t.Any]:
    return {name: value for name, value in options.items() if name not in _UNIMPORTANT and name not in _HOOKS}


def _text(source: Path, name: str) -> str:
    with contextlib.suppress(OSError), (source / name).open("rb") as stream:
        return decoded(stream.read(_LARGEST))
    return ""


def _from_file(text: str) -> _Settings:
    """The settings that are written down as they are; one that is computed is not known."""
    values: dict[str, t.Any] = {}
    hooks: list[str] = []
    with contextlib.suppress(SyntaxError, ValueError, RecursionError):
        for node in ast.parse(text).body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name in _HOOKS:
                hooks.append(node.name)
            if not isinstance(node, ast.Assign):
                continue
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id in SETTINGS:
                    values.update(_value(target.id, node.value))
    return _Settings(_without(values), hooks)


def _value(name: str, node: ast.expr) -> dict[str, t.Any]:
    if ast.unparse(node) == "runtime.worker_class":
        return {name: "gevent"}
    value = node.value if isinstance(node, ast.Constant) else None
    return {name: value} if isinstance(value, (bool, int, str)) else {}


def _from_procfile(text: str) -> dict[str, t.Any]:
    """The options of gunicorn in the line `web`, without those that a shell would fill in."""
    line = re.search(r"^web:\s*(.+)$", text, re.MULTILINE)
    words: list[str] = []
    with contextlib.suppress(ValueError):
        words = shlex.split(line[1]) if line else []
    names = [PurePosixPath(word).name for word in words]
    words = words[names.index("gunicorn") + 1 :] if "gunicorn" in names else []
    found: dict[str, t.Any] = {}
    for word, following in zip(words, [*words[1:], ""]):
        option = re.fullmatch(r"--([a-z][a-z_-]*)(?:=(.*))?|-([a-z])=?(.*)", word)
        if not option:
            continue
        long = (option[1] or "").replace("-", "_")
        name = (
            _SHORT.get(option[3], "")
            if option[3]
            else {"preload": "preload_app"}.get(long, COMMAND_LINE.get(long, long))
        )
        value = option[2] or option[4] or following
        if SETTINGS.get(name) == "bool":
            found[name] = True
        elif name in SETTINGS and value and "$" not in value:
            found[name] = int(value) if value.isdecimal() else value
    return found
