# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Observe a host: read once, with bounds, everything that the checks look at. Changes nothing."""

from __future__ import annotations

import glob
import os
import re
import time

from .. import balancer_state
from ..diagnosis.log_tail import last_text
from ..host import foreign, inspection, places
from ..instance.discovery import App, find_apps, programs_beside
from ..instance.running_programs import running_programs
from ..supervisor.conf import get, parse, program_files, socket_path
from ..supervisor.other_programs import program_settings, wrong_with
from ..supervisor.rpc import Process, Supervisor, SupervisorError
from .addresses import port_of
from .configuration import file_named_in
from .instances import ANSWER_TIMEOUT
from .observe_app import observe_app, written_at
from .state import AppState, Configuration, Disk, HostState, Options, ProgramState, Settings, Supervisord, Unit
from .supervisord import STAYS

#: Seconds that one try of systemd's to start supervisord takes.
_ROUND = 15.0
#: Bytes of a file of the configuration.
_LARGEST_FILE = 4 * 1024 * 1024
#: Lines of a journal or log that are kept of supervisord.
_LINES = 15
#: supervisor's own parser. While the unit is stopped there is no /run/supervisor, which is as it should be.
_PARSER = """
import sys
from supervisor import options
directory_exists = options.existing_dirpath
options.existing_dirpath = lambda path: path if path.startswith("/run/") else directory_exists(path)
options.ServerOptions().realize(["--nodaemon", "--configuration", sys.argv[1]])
"""


def observe(options: Options) -> HostState:
    """The state of this host."""
    state = HostState(options, Configuration(os.path.join(options.conf_dir, "supervisord.conf")), now=time.time())
    known = find_apps(options.base_dir, options.conf_dir)
    state.apps = [AppState(app, written=written_at(app)) for app in known if options.name in ("", app.name)]
    state.base_mount = inspection.mount_of(options.base_dir)
    state.disks = _observe_disks(state)
    _code, text = inspection.run(["timedatectl", "show", "--property=NTPSynchronized", "--value"])
    state.clock_is_synchronized = text == "yes"
    state.configuration = _observe_configuration(options)
    _observe_unit(state)
    ports = {port_of(one.app.bind) for one in state.apps if not one.app.bind.startswith("unix:")}
    ports.add(port_of(state.configuration.get("inet_http_server", "port")))
    state.listeners = {port: inspection.listeners(port) for port in ports - {0}}
    supervisor = Supervisor(state.configuration.socket, timeout=ANSWER_TIMEOUT)
    _ask_supervisord(state, supervisor)
    observe_apps(state, supervisor)
    state.programs = _observe_programs(state, known, supervisor)
    state.balancer = balancer_state.observe()
    state.memory_kills = _memory_kills(state.unit.properties.get("ControlGroup", ""))
    if glob.glob(f"{places.LOGROTATE_DIR}/*.conf"):
        state.rotation = inspection.unit_properties("pygun-logrotate.timer", "UnitFileState,ActiveState")
    return state


def observe_apps(state: HostState, supervisor: Supervisor) -> None:
    """Fill in the state of each app. If one cannot be observed, this is a finding of that app, and the others are observed."""
    for seen in state.apps:
        try:
            observe_app(seen, settings_of(seen.app.conf), state.processes, supervisor, state.supervisord.running)
        except Exception as error:  # pylint: disable=broad-except
            seen.error = foreign.printable(f"{type(error).__name__}: {error}")


def settings_of(path: str) -> Settings:
    """The sections of a configuration file, as far as it can be read."""
    parser = parse(path)
    return {
        section: {name: get(parser, section, name) for name in parser.options(section)} for section in parser.sections()
    }


def _observe_disks(state: HostState) -> list[Disk]:
    options = state.options
    paths = [options.base_dir, options.conf_dir, places.LOGS, "/run", "/tmp", "/dev/shm"]
    for app in (seen.app for seen in state.apps):
        paths += [app.root, f"{app.root}/shared", app.log_dir, app.run_dir]
    mounts = dict.fromkeys(inspection.mount_of(path) for path in paths if os.path.isdir(path))
    return [_observe_disk(mount) for mount in mounts]


def _observe_disk(mount: str) -> Disk:
    found = os.statvfs(mount)
    return Disk(mount, found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, found.f_files, found.f_favail)


def _observe_configuration(options: Options) -> Configuration:
    conf = Configuration(os.path.join(options.conf_dir, "supervisord.conf"))
    paths = [conf.path, *program_files(options.conf_dir), *sorted(glob.glob(places.env_file("*")))]
    conf.files = {path: inspection.read_text(path, _LARGEST_FILE) for path in paths}
    conf.exists = os.path.isfile(conf.path)
    conf.settings = settings_of(conf.path)
    conf.socket = socket_path(parse(conf.path))
    python = os.path.join(options.tools_dir, "supervisor", "bin", "python")
    conf.parser_exists = os.path.exists(python)
    if conf.exists:
        conf.parser = inspection.outcome_of([python, "-I", "-c", _PARSER, conf.path])
        named = file_named_in(conf.parser.text) if conf.parser.status else ""
        if named and named not in conf.files:
            conf.files[named] = inspection.read_text(named, _LARGEST_FILE)
    return conf


def _observe_unit(state: HostState) -> None:
    """The unit, the supervisord that it runs, and the processes of the host at that moment.

    A unit that systemd starts again and again looks healthy for a moment in each round.
    """
    names = "LoadState,UnitFileState,ActiveState,SubState,Result,MainPID,ControlGroup,NRestarts"
    give_up = time.monotonic() + _ROUND
    while True:
        properties = inspection.unit_properties(state.options.unit, names)
        text = properties.get("MainPID", "0")
        pid = int(text) if text.isdigit() else 0
        passing = properties.get("SubState") in ("start", "stop-post")
        restarted = properties.get("NRestarts", "0") != "0" and inspection.uptime_of(pid) < STAYS
        active = properties.get("ActiveState") == "active"
        if time.monotonic() > give_up or not (passing or (active and restarted)):
            break
        time.sleep(0.2)
    state.processes = inspection.processes()
    state.supervisord = Supervisord(pid if pid in state.processes else 0)
    state.unit = Unit(properties)
    conf = state.configuration
    run_files = (conf.socket, conf.get("supervisord", "pidfile"))
    conf.run_files = [path for path in run_files if path and os.path.exists(path)]
    if properties and not active:
        _code, state.unit.journal = inspection.run(
            ["journalctl", "--no-pager", "-o", "cat", "-n", str(_LINES), "-u", state.options.unit]
        )
        log = conf.get("supervisord", "logfile") or f"{places.SUPERVISOR_LOG_DIR}/supervisord.log"
        state.unit.log = "\n".join(last_text(log).splitlines()[-_LINES:])


def _ask_supervisord(state: HostState, supervisor: Supervisor) -> None:
    server = state.supervisord
    if not server.pid:
        return
    server.uptime = inspection.uptime_of(server.pid)
    control = os.path.join(state.options.tools_dir, "supervisor", "bin", "supervisorctl")
    server.control = inspection.outcome_of([control, "-c", state.configuration.path, "pid"])
    try:
        server.version = supervisor.call("supervisor.getSupervisorVersion")
        server.running = supervisor.all_processes()
    except SupervisorError as error:
        server.error = str(error)


def _observe_programs(state: HostState, known: list[App], supervisor: Supervisor) -> list[ProgramState]:
    others: list[Process] = programs_beside(state.supervisord.running or [], known, state.options.name)
    settings = program_settings(supervisor) if others else {}
    of_releases = running_programs(others, state.options.conf_dir)
    found = [
        ProgramState(
            process, settings.get((process.group, process.name), {}), of_release=of_releases.get(process.full_name)
        )
        for process in others
    ]
    for program in found:
        if wrong_with(program.process, program.settings):
            program.log = last_text(program.process.log_file)
    return found


def _memory_kills(group: str) -> str:
    """The evidence that the kernel killed a process for want of memory; empty if there is none."""
    for path in (f"/sys/fs/cgroup{group}/memory.events", f"/sys/fs/cgroup/memory{group}/memory.oom_control"):
        found = re.search(r"^oom_kill (\d+)", inspection.read_text(path), re.MULTILINE)
        if found and int(found.group(1)):
            return f"{path} counts {found.group(1)} out-of-memory kills"
    _code, text = inspection.run(["journalctl", "-k", "--no-pager", "-o", "cat", "--since", "-1day", "-n", "2000"])
    lines = re.findall(r".*(?:Out of memory: Killed process|oom-kill:|Memory cgroup out of memory).*", text)
    return f"the kernel's log says: {lines[-1].strip()}" if lines else ""
