# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The parameters of an activation, which are those of the module `activate`."""

from __future__ import annotations

import dataclasses
import typing as t

from ..host import places
from ..release.commands import Commands, commands_from
from .errors import ActivationError
from .files import ManagedFile


@dataclasses.dataclass(frozen=True)
class Options:
    """The parameters of an activation; the documentation of the module `activate` describes them."""

    name: str
    release: str
    root: str
    run_dir: str
    supervisor_socket: str
    restart: bool = False
    retry_failed: bool = False
    program_conf: ManagedFile | None = None
    env_file: ManagedFile | None = None
    keep: int = 5
    log_dir: str = ""
    by: str = ""
    rollout: str = ""
    preflight: bool = True
    socket_units: tuple[ManagedFile, ...] = ()
    release_command: Commands = ()
    release_command_state: Commands = ()
    release_command_timeout: float = 600.0
    release_command_host: str = ""
    release_command_changed: bool = True
    across_release_command: bool = False
    programs: tuple[ManagedFile, ...] | None = None


#: The argument spec of the module `activate`.
ARGUMENT_SPEC = {
    "name": {"type": "str", "required": True},
    "release": {"type": "str", "required": True},
    "root": {"type": "path"},
    "run_dir": {"type": "path"},
    "log_dir": {"type": "path"},
    "supervisor_socket": {"type": "path", "default": places.SUPERVISOR_SOCKET},
    "restart": {"type": "bool", "default": False},
    "retry_failed": {"type": "bool", "default": False},
    "program_conf": {
        "type": "dict",
        "options": {"path": {"type": "path", "required": True}, "content": {"type": "str"}},
    },
    "env_file": {
        "type": "dict",
        "options": {
            "path": {"type": "path", "required": True},
            "content": {"type": "str", "no_log": True},
            "group": {"type": "str"},
        },
    },
    "socket_units": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"path": {"type": "path", "required": True}, "content": {"type": "str"}},
    },
    "programs": {
        "type": "list",
        "elements": "dict",
        "options": {"path": {"type": "path", "required": True}, "content": {"type": "str", "required": True}},
    },
    "preflight": {"type": "bool", "default": True},
    "keep": {"type": "int", "default": 5},
    "by": {"type": "str", "default": ""},
    "rollout": {"type": "str", "default": ""},
    "release_command": {"type": "raw", "default": ""},
    "release_command_state": {"type": "raw", "default": ""},
    "release_command_timeout": {"type": "float", "default": 600},
    "release_command_host": {"type": "str", "default": ""},
    "release_command_changed": {"type": "bool", "default": True},
    "across_release_command": {"type": "bool", "default": False},
}


def _managed_file(given: dict[str, t.Any] | None, mode: int, removable: bool = False) -> ManagedFile | None:
    """The file of an option. Without content, the transaction only reads it, or removes it."""
    if given is None:
        return None
    content = given["content"]
    absent = removable and content is None
    return ManagedFile(given["path"], None if content is None else content.encode(), mode, given.get("group"), absent)


def options_from(params: dict[str, t.Any]) -> Options:
    """The module's parameters with their defaults that depend on the app's name."""
    given = dict(params)
    name = given["name"]
    given["root"] = given["root"] or places.root(name)
    given["run_dir"] = given["run_dir"] or places.run_dir(name)
    given["log_dir"] = given["log_dir"] or places.log_dir(name)
    conf = given["program_conf"] or {"path": places.program_conf(name), "content": None}
    given["program_conf"] = _managed_file(conf, 0o644)
    env = given["env_file"] or {"path": places.env_file(name), "content": None}
    given["env_file"] = _managed_file(env, 0o640)
    given["socket_units"] = tuple(_managed_file(unit, 0o644, removable=True) for unit in given["socket_units"])
    try:
        for name in ("release_command", "release_command_state"):
            given[name] = commands_from(given[name])
    except ValueError as error:
        raise ActivationError(f"{name}: {error} Nothing was changed.", step="prepare") from None
    if given["programs"] is not None:
        given["programs"] = tuple(_managed_file(program, 0o644) for program in given["programs"])
    return Options(**given)
