# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules about gunicorn's settings."""

from __future__ import annotations

import ast
import difflib
import re
import typing as t
from collections.abc import Iterator

from ..gunicorn_settings import COMMAND_LINE, SETTINGS
from ..gunicorn_settings import VERSION as GUNICORN
from ..text import shown
from .addresses import network
from .rules import Values, between, rule
from .value_types import yaml_kind


@rule("flask_app_worker_class")
def _worker_class(value: str) -> Iterator[str]:
    known = ("gevent", "sync", "gthread", "tornado")
    if value == "asgi":
        yield (
            "the health check of a release and its restarts without loss are those of a WSGI app, as Flask's are. Write gevent; an"
            " ASGI app serves with it if its source wraps it, for example with a2wsgi's ASGIMiddleware."
        )
    elif value in ("gevent_wsgi", "gevent_pywsgi", "eventlet"):
        yield f"gunicorn {GUNICORN} does not serve with it reliably or at all. Write gevent."
    elif value not in known and not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", value):
        near = difflib.get_close_matches(value, known, 1)
        yield f"write one of {', '.join(known)}, or module.Class{f'; is {near[0]} meant?' if near else '.'}"


@rule("flask_app_pygun_extra")
def _pygun_extra(value: str) -> Iterator[str]:
    text = value.replace("\r\n", "\n")
    try:
        tree = ast.parse(text, "flask_app_pygun_extra")
        text.encode()
    except SyntaxError as error:
        yield f"line {error.lineno}: {error.msg}. It goes into pygun.py as it is: write Python."
        return
    except ValueError as error:  # NUL, or a character that cannot be written
        yield f"it cannot be written into a file of Python: {error}. Correct it."
        return
    for statement in tree.body:
        for name in _assigned(statement):
            if name in _NOT_YOURS or name in _OF_SUPERVISOR:
                yield f"line {statement.lineno} sets {name}: {_NOT_YOURS.get(name) or _OF_SUPERVISOR[name]}"
            elif name == "runtime":
                yield f"line {statement.lineno} takes the name runtime, which pygun.py needs. Choose another."


def _assigned(statement: ast.stmt) -> Iterator[str]:
    targets = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, (ast.AnnAssign, ast.AugAssign)):
        targets = [statement.target]
    for target in targets:
        yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))


_ROLE = "The role sets it: leave it out."
#: Settings that decide whether restarts lose requests, or that other files must agree with.
_NOT_YOURS = {
    "backlog": "the socket's holder has to know it too. Set flask_app_backlog.",
    "bind": "the socket's holder opens it. Set flask_app_bind.",
    "chdir": "an instance runs in its release. " + _ROLE,
    "check_config": "gunicorn would check its settings and end. Leave it out.",
    "config": "pygun.py is the configuration. Leave it out.",
    "control_socket": "each instance has its own. " + _ROLE,
    "daemon": "supervisor would lose sight of gunicorn. Leave it out.",
    "default_proc_name": "gunicorn sets it itself. Set proc_name.",
    "graceful_timeout": "supervisor's stopwaitsecs has to be longer. Set flask_app_graceful_timeout.",
    "group": "supervisor starts the app with its group. Set flask_app_group.",
    "paste": "it would take the place of the app. Set flask_app_wsgi.",
    "pidfile": "each instance needs its own. Set flask_app_pid_file.",
    "print_config": "gunicorn would print its settings and end. Leave it out.",
    "reload": "a release never changes, so there is nothing to reload. Leave it out, and deploy.",
    "reload_engine": "a release never changes, so there is nothing to reload. Leave it out, and deploy.",
    "reload_extra_files": "a release never changes, so there is nothing to reload. Leave it out, and deploy.",
    "user": "supervisor starts the app as its user. Set flask_app_user.",
    "wsgi_app": "Set flask_app_wsgi.",
}
#: Settings that gunicorn never had or no longer has.
_ELSEWHERE = {
    "debug": "gunicorn has no such mode any more. Leave it out; flask_app_log_level: debug logs more.",
    "django_settings": "gunicorn takes no settings of Django any more. Set DJANGO_SETTINGS_MODULE in flask_app_env.",
    "host": "the socket's holder opens the address. Set flask_app_bind.",
    "port": "the socket's holder opens the address. Set flask_app_bind.",
    "script_name": "it is a variable of the environment. Set SCRIPT_NAME in flask_app_env.",
    **dict.fromkeys(
        ("x_forwarded_for_header", "x_forwarded_for", "proxy_fix", "proxy_headers"),
        "gunicorn leaves the caller's address to the app. Leave it out, wrap the app in werkzeug's ProxyFix, and set"
        " forwarded_allow_ips to the proxy's address.",
    ),
}
_SUPERVISORS = "that is supervisor's, not gunicorn's. "
_OF_SUPERVISOR = {
    "autorestart": _SUPERVISORS + _ROLE,
    "autostart": _SUPERVISORS + _ROLE,
    "command": _SUPERVISORS + _ROLE,
    "directory": _SUPERVISORS + "gunicorn runs in its release: leave it out.",
    "environment": _SUPERVISORS + "Set flask_app_env.",
    "exitcodes": _SUPERVISORS + _ROLE,
    "killasgroup": _SUPERVISORS + _ROLE,
    "logfile": "gunicorn has no logfile and would pass over it (it calls it errorlog). Set flask_app_log_dir.",
    "logfile_backups": _SUPERVISORS + "Set flask_app_log_backups.",
    "logfile_maxbytes": _SUPERVISORS + "Set flask_app_log_maxbytes.",
    "numprocs": _SUPERVISORS + "Set flask_app_instances.",
    "process_name": _SUPERVISORS + _ROLE,
    "redirect_stderr": _SUPERVISORS + _ROLE,
    "socket": _SUPERVISORS + "Set flask_app_bind.",
    "startretries": _SUPERVISORS + _ROLE,
    "startsecs": _SUPERVISORS + "With 0 it would take every crash for a start. " + _ROLE,
    "stderr_logfile": _SUPERVISORS + "Set flask_app_log_dir.",
    "stdout_logfile": _SUPERVISORS + "Set flask_app_log_dir.",
    "stopasgroup": _SUPERVISORS + _ROLE,
    "stopsignal": _SUPERVISORS + _ROLE,
    "stopwaitsecs": _SUPERVISORS + "It is flask_app_graceful_timeout and ten seconds more; set that.",
}


@rule("flask_app_gunicorn")
def _gunicorn(values: dict[str, t.Any]) -> Iterator[str]:
    for name, value in values.items():
        if name in _NOT_YOURS or name in _OF_SUPERVISOR:
            yield f"{name} is not taken here: {_NOT_YOURS.get(name) or _OF_SUPERVISOR[name]}"
        elif name not in SETTINGS:
            yield f"gunicorn {GUNICORN} has no setting {shown(name)} and would pass over it; {_nearest(name)}"
        else:
            yield from (f"{name}: {wrong}" for wrong in _setting(name, SETTINGS[name], value))


def _nearest(name: str) -> str:
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip().lstrip("-")).replace("-", "_").replace(" ", "_").lower()
    if plain in COMMAND_LINE:
        return f"on the command line it is called so. Write {COMMAND_LINE[plain]}, as in the configuration file."
    if plain in _ELSEWHERE:
        return _ELSEWHERE[plain]
    near = [plain] if plain in SETTINGS else difflib.get_close_matches(plain, SETTINGS, 1, cutoff=0.75)
    return f"is {near[0]} meant? Correct it." if near else "take it out (`gunicorn --help` lists what there is)."


def _setting(name: str, kind: str, value: t.Any) -> Iterator[str]:
    """The kinds that most settings are of; the preflight asks gunicorn itself about the others."""
    if kind in ("callable", "post_request") or name == "ssl_context":
        yield "it takes a function. Write one of that name in flask_app_pygun_extra."
    elif value is None:
        yield "it has no value (YAML's null). Leave the line out to get gunicorn's default."
    elif kind == "pos_int":
        if isinstance(value, (bool, float, list, dict)) or not re.fullmatch(r"\d+|0[xob][0-9a-fA-F]+", str(value)):
            yield f"{shown(value)} is not a whole number from 0 on. Write one, without a unit."
        elif isinstance(value, str) and re.fullmatch(r"0\d+", value):
            yield f"{shown(value)} is no number that gunicorn reads; write 0o before octal digits."
    elif kind == "bool":
        if not isinstance(value, bool) and str(value).strip().lower() not in ("true", "false"):
            yield f"{shown(value)} is not a yes or no. Write true or false."
    elif kind in ("string", "string_to_list", "string_to_addr_list", "class"):
        if not isinstance(value, str):
            yield f"{shown(value)} is {yaml_kind(value)}, and a text is expected. Put it in quotes."
        elif kind == "string_to_addr_list":
            for address in filter(None, (part.strip() for part in value.split(","))):
                if address != "*" and not network(address):
                    yield f"{shown(address)} is neither an IP address nor a network (nor *). Correct it."
        elif kind == "class":
            yield from _worker_class(value) if name == "worker_class" else ()
    elif kind == "list_string":
        if not isinstance(value, str) and not (
            isinstance(value, (list, tuple)) and all(isinstance(entry, str) for entry in value)
        ):
            yield f"a list of texts is expected, and this is {yaml_kind(value)}. Write each on a line of its own, after a dash."
        elif name == "raw_env":
            entries = [value] if isinstance(value, str) else value
            if not all(re.match(r"[A-Za-z_]\w*=", entry) for entry in entries):
                yield "an entry is not NAME=value. Better use flask_app_env, which keeps values from others' eyes."
            elif any(entry.startswith("SCRIPT_NAME=") for entry in entries):
                yield "SCRIPT_NAME decides what the checks of the app ask. Set it in flask_app_env."
    elif kind == "dict" and not isinstance(value, dict):
        yield f"names with values are expected, and this is {yaml_kind(value)}. Write a line NAME: VALUE for each."


@between
def _max_requests(values: Values) -> Iterator[tuple[str, str]]:
    _name, most = values.gunicorn("max_requests", "flask_app_max_requests")
    name, jitter = values.gunicorn("max_requests_jitter", "flask_app_max_requests_jitter")
    if jitter and not most:
        yield name, f"({jitter}) has no effect, since flask_app_max_requests is 0. Set both, or none."


@between
def _dirty_workers(values: Values) -> Iterator[tuple[str, str]]:
    given, extra = values["flask_app_gunicorn"], values["flask_app_pygun_extra"]
    if given.get("dirty_apps") and "dirty_workers" not in given and "dirty_workers" not in extra:
        yield (
            "flask_app_gunicorn",
            "has dirty_apps, and gunicorn starts none of them: dirty_workers is 0 unless it is set. Set it, such as dirty_workers: 1.",
        )


@between
def _descriptors(values: Values) -> Iterator[tuple[str, str]]:
    name, connections = values.gunicorn("worker_connections", "flask_app_worker_connections")
    most = values["supervisor_minfds"]
    if values["flask_app_worker_class"] == "gevent" and connections + 100 > most:
        yield (
            name,
            f"({connections}) needs as many file descriptors and some more, and supervisor_minfds is {most}. Lower the one, or"
            " raise the other.",
        )
