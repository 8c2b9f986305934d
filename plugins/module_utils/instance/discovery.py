# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The apps of a host, found without being told anything about them. Reads only."""

from __future__ import annotations

import configparser
import dataclasses
import glob
import os
import typing as t

from ..release.record import service_of
from ..supervisor.conf import get, parse, program_files, variables
from ..supervisor.rpc import Process
from .public_socket import SystemdSocket

#: supervisor's own default, for a program that does not say how long it may take to stop.
_STOPWAITSECS = 10.0


@dataclasses.dataclass(frozen=True)
class App:
    """An app as the host knows it."""

    name: str
    root: str
    conf: str
    run_dir: str
    user: str
    bind: str
    instances: int
    log_dir: str
    by_systemd: bool
    stop_timeout: float = _STOPWAITSECS


def find_apps(base_dir: str, conf_dir: str) -> list[App]:
    """What conf.d names, and what stands in the base directory beside, in the order of their names."""
    found: dict[str, App] = {}
    for path in program_files(conf_dir):
        parser = parse(path)
        for section in parser.sections():
            kind, _sep, name = section.partition(":")
            if kind in ("program", "fcgi-program") and "/pygun_runtime/launch.py" in get(parser, section, "command"):
                found[name.strip()] = _app(name.strip(), path, parser, section)
    for state in sorted(glob.glob(os.path.join(glob.escape(base_dir), "*", "state.json"))):
        root = os.path.dirname(state)
        name = os.path.basename(root)
        if name not in found and os.path.islink(os.path.join(root, "current")):
            found[name] = _without_program(name, root)
    return [found[name] for name in sorted(found)]


def _without_program(name: str, root: str) -> App:
    """An app that supervisord does not know. Its places are the usual ones: to remove others, its release's word is not enough."""
    bind = service_of(os.path.join(root, "current")).bind
    return App(name, root, "", f"/run/{name}", name, bind, 0, f"/var/log/{name}", False)


def _app(name: str, path: str, parser: configparser.RawConfigParser, section: str) -> App:
    command = get(parser, section, "command")
    environment = variables(get(parser, section, "environment"))
    root = command.partition("/current/")[0]
    socket = get(parser, section, "socket")
    log = os.path.dirname(get(parser, section, "stdout_logfile"))
    instances = environment.get("PYGUN_INSTANCES", "")
    stop_timeout = get(parser, section, "stopwaitsecs")
    by_systemd = "PYGUN_SOCKET_KEEPER" in environment
    bind = socket.removeprefix("tcp://").replace("unix://", "unix:")
    if by_systemd:
        bind = SystemdSocket(name).wanted() or ""
    return App(
        name=name,
        root=root,
        conf=path,
        run_dir=environment.get("PYGUN_RUN_DIR", f"/run/{name}"),
        user=get(parser, section, "user").partition(":")[0] or name,
        bind=bind,
        instances=int(instances) if instances.isdigit() else 0,
        log_dir=log or f"/var/log/{name}",
        by_systemd=by_systemd,
        stop_timeout=float(stop_timeout) if stop_timeout.isdigit() else _STOPWAITSECS,
    )


def programs_beside(running: list[Process], apps: list[App], wanted: str) -> list[Process]:
    """The processes that are no app's, without those that belong to another app than the wanted one (its listeners)."""
    own = f"{wanted}-" if wanted else ""
    foreign = tuple(f"{app.name}-" for app in apps if wanted not in ("", app.name))
    return [
        process
        for process in running
        if process.group not in {app.name for app in apps}
        and ((own and process.group.startswith(own)) or not process.group.startswith(foreign))
    ]


def names(apps: t.Iterable[App]) -> str:
    """For messages."""
    return ", ".join(app.name for app in apps) or "none"
