# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The apps of a host, found without being told anything about them. Reads only."""

from __future__ import annotations

import configparser
import dataclasses
import glob
import os
import re
import time
import typing as t

from . import foreign, host_view
from .instance import RunDirectory, environment_digest
from .public_socket import SystemdSocket
from .supervisor_rpc import (
    DEAD_STATES,
    Process,
    Supervisor,
    SupervisorError,
)

#: Argument spec of the options in plugins/doc_fragments/places.py.
PLACES_OPTIONS = {
    "base_dir": {"type": "path", "default": "/srv"},
    "conf_dir": {"type": "path", "default": "/etc/supervisor"},
}

#: supervisor's own default, for a program that does not say how long it may take to stop.
_STOPWAITSECS = 10.0
#: Bytes of an environment file.
_LARGEST_ENVIRONMENT = 4 * 1024 * 1024
#: Where supervisord listens when its configuration does not say so.
_SOCKET = "/run/supervisor/supervisor.sock"


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
            found[name] = App(
                name, root, "", f"/run/{name}", name, _bind_of_release(root), 0, f"/var/log/{name}", False
            )
    return [found[name] for name in sorted(found)]


def _app(name: str, path: str, parser: configparser.RawConfigParser, section: str) -> App:
    command, environment = get(parser, section, "command"), get(parser, section, "environment")
    variables = dict(re.findall(r'(\w+)="?([^",]*)"?', environment))
    root = command.partition("/current/")[0]
    socket = get(parser, section, "socket")
    log = os.path.dirname(get(parser, section, "stdout_logfile"))
    instances = variables.get("PYGUN_INSTANCES", "")
    stop_timeout = get(parser, section, "stopwaitsecs")
    by_systemd = "PYGUN_SOCKET_KEEPER" in variables
    bind = (
        SystemdSocket(name).wanted() or "" if by_systemd else re.sub(r"^tcp://", "", socket).replace("unix://", "unix:")
    )
    return App(
        name=name,
        root=root,
        conf=path,
        run_dir=variables.get("PYGUN_RUN_DIR", f"/run/{name}"),
        user=get(parser, section, "user").partition(":")[0] or name,
        bind=bind,
        instances=int(instances) if instances.isdigit() else 0,
        log_dir=log or f"/var/log/{name}",
        by_systemd=by_systemd,
        stop_timeout=float(stop_timeout) if stop_timeout.isdigit() else _STOPWAITSECS,
    )


# -- configuration ---------------------------------------------------------------------------------------------------


def program_files(conf_dir: str) -> list[str]:
    """The files that supervisord.conf includes."""
    folder = os.path.join(glob.escape(conf_dir), "conf.d")
    return sorted(glob.glob(os.path.join(folder, "*.conf")) + glob.glob(os.path.join(folder, "*.ini")))


def parse(path: str) -> configparser.RawConfigParser:
    """As much of a file as can be read; whether supervisor takes it, supervisor's own parser says."""
    parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(";", "#"))
    try:
        parser.read_string(host_view.read_text(path).lstrip("\ufeff").replace("\r", ""))
    except configparser.Error:
        pass
    return parser


def get(parser: configparser.RawConfigParser, section: str, option: str) -> str:
    """The text of an option; empty if there is none."""
    return parser.get(section, option, fallback="") or ""


def socket_path(settings: configparser.RawConfigParser) -> str:
    """Where supervisord listens, as supervisord.conf says."""
    return get(settings, "unix_http_server", "file") or _SOCKET


# -- releases --------------------------------------------------------------------------------------------------------


def _bind_of_release(root: str) -> str:
    found = re.search(r"""^\s*bind=["']([^"']+)["']""", host_view.read_text(f"{root}/current/pygun.py"), re.MULTILINE)
    return found.group(1) if found else ""


def health_of_release(path: str) -> tuple[str, str]:
    """Path and Host header of the health check, as the pygun.py of a release has them."""
    text = host_view.read_text(os.path.join(path, "pygun.py"))
    found = dict(re.findall(r"^\s*health_(path|host)\s*=\s*[\"']([^\"'\n]*)[\"']", text, re.MULTILINE))
    return found.get("path", ""), found.get("host") or "localhost"


def boot_timeout_of_release(path: str, otherwise: float) -> float:
    """Seconds that the pygun.py of a release gives a boot."""
    text = host_view.read_text(os.path.join(path, "pygun.py"))
    found = re.search(r"^\s*boot_timeout\s*=\s*(\d+(?:\.\d+)?)", text, re.MULTILINE)
    return float(found.group(1)) if found else otherwise


def environment_of_release(path: str) -> str:
    """The digest of the environment file that the pygun.py of a release names, as an instance that starts now records it."""
    text = host_view.read_text(os.path.join(path, "pygun.py"))
    found = re.search(r"""^\s*env_file\s*=\s*["']([^"'\n]+)["']""", text, re.MULTILINE)
    try:
        return environment_digest(
            foreign.read(os.path.realpath(found.group(1)), _LARGEST_ENVIRONMENT) if found else b""
        )
    except (OSError, foreign.Unreadable):
        return environment_digest(b"")


# -- instances -------------------------------------------------------------------------------------------------------


def is_ready(app: App, process: Process) -> bool:
    """Whether every worker of an instance serves."""
    directory = RunDirectory(app.run_dir)
    record = directory.record(process.name)
    if process.state not in ("RUNNING", "STARTING") or record.get("pid") != process.pid:
        return False
    return directory.ready_workers(process.name, process.pid) >= record.get("workers", 1)


def settle(app: App, supervisor: Supervisor, process: Process, seconds: float) -> tuple[Process, bool]:
    """The process as it is after a while, and whether it serves. It may be between two tries to boot."""
    give_up = time.monotonic() + seconds
    while True:
        if is_ready(app, process):
            return process, True
        if process.state in (*DEAD_STATES, "STOPPED") or time.monotonic() > give_up:
            return process, False
        time.sleep(0.2)
        try:
            process = supervisor.process(process.full_name)
        except SupervisorError:
            return process, False


def serving(app: App, running: list[Process]) -> tuple[list[Process], list[Process]]:
    """The processes of an app: its instances, and those that only hold the socket open."""
    count = min(app.instances or len(running), len(running))
    return [one for one in running if one.number < count], [one for one in running if one.number >= count]


# -- other programs --------------------------------------------------------------------------------------------------


def program_settings(supervisor: Supervisor) -> dict[tuple[str, str], dict[str, t.Any]]:
    """How supervisord was told to run each process: (group, name) -> settings; empty if it does not say."""
    try:
        found = supervisor.call("supervisor.getAllConfigInfo")
    except SupervisorError:
        return {}
    return {(one["group"], one["name"]): one for one in found}


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


def wrong_with(process: Process, setting: dict[str, t.Any]) -> str:
    """What is not as it should be about a program that is no app; empty if nothing is."""
    if process.state in ("FATAL", "BACKOFF", "UNKNOWN"):
        return f"is {process.state}" + (f": {process.spawn_error}" if process.spawn_error else "")
    if process.state in ("STOPPED", "STOPPING") and setting.get("autostart", True):
        return f"is {process.state}, and is meant to run (autostart)"
    if process.state == "EXITED" and process.exit_status not in (setting.get("exitcodes") or [0]):
        return f"is EXITED with status {process.exit_status}"
    return ""


def names(apps: t.Iterable[App]) -> str:
    """For messages."""
    return ", ".join(app.name for app in apps) or "none"
