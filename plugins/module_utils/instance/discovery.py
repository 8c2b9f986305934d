# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find the apps of a host, without any parameter. Reads only."""

from __future__ import annotations

import dataclasses
import glob
import os
import typing as t

from ..host import places
from ..release.record import service_of
from ..supervisor.app_program import AppProgram, app_programs
from ..supervisor.conf import STOPWAITSECS, parse, program_files
from ..supervisor.rpc import Process
from .public_socket import SystemdSocket


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
    stop_timeout: float = STOPWAITSECS


def find_apps(base_dir: str, conf_dir: str) -> list[App]:
    """The apps that conf.d names and those that the base directory has, in the order of their names."""
    found = {
        program.name: _app(path, program) for path in program_files(conf_dir) for program in app_programs(parse(path))
    }
    for state in sorted(glob.glob(os.path.join(glob.escape(base_dir), "*", "state.json"))):
        root = os.path.dirname(state)
        name = os.path.basename(root)
        if name not in found and is_roots(root) and os.path.islink(os.path.join(root, "current")):
            found[name] = _without_program(name, root)
    return [found[name] for name in sorted(found)]


def is_roots(folder: str) -> bool:
    """Whether a folder is root's. Below the base directory there may be folders of people, who can have in them what they like."""
    try:
        return os.stat(folder).st_uid == os.geteuid()
    except OSError:
        return False


def _without_program(name: str, root: str) -> App:
    """An app that supervisord does not know. Its places are the usual ones: to remove others, its release's word is not enough."""
    bind = service_of(os.path.join(root, "current")).bind
    return App(name, root, "", places.run_dir(name), name, bind, 0, places.log_dir(name), False)


def _app(path: str, program: AppProgram) -> App:
    name = program.name
    return App(
        name=name,
        root=program.root,
        conf=path,
        run_dir=program.run_dir or places.run_dir(name),
        user=program.user or name,
        bind=SystemdSocket(name).wanted() or "" if program.by_systemd else program.bind,
        instances=program.instances,
        log_dir=program.log_dir or places.log_dir(name),
        by_systemd=program.by_systemd,
        stop_timeout=program.stop_timeout,
    )


def programs_beside(running: list[Process], apps: list[App], wanted: str) -> list[Process]:
    """The processes outside of apps. With a wanted app, without the listeners and programs of other apps."""
    own = (f"{wanted}-", f"{wanted}.") if wanted else ()
    foreign = tuple(f"{app.name}{sign}" for app in apps if wanted not in ("", app.name) for sign in "-.")
    return [
        process
        for process in running
        if process.group not in {app.name for app in apps}
        and ((own and process.group.startswith(own)) or not process.group.startswith(foreign))
    ]


def names(apps: t.Iterable[App]) -> str:
    """For messages."""
    return ", ".join(app.name for app in apps) or "none"
