# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Observe one app: read, with bounds, everything that its checks look at. Changes nothing."""

from __future__ import annotations

import os

from ..diagnosis.log_tail import last_text, raw_log
from ..host import foreign, inspection, places
from ..instance import jobs
from ..instance.discovery import App
from ..instance.obstacle import NOT_OPENED, obstacle
from ..instance.probe import ask_bind
from ..instance.public_socket import SystemdSocket
from ..instance.readiness import settle
from ..instance.run_directory import RunDirectory
from ..release.record import service_of
from ..release.store import ReleaseStore
from ..supervisor.rpc import Process, Supervisor
from .instances import ANSWER_TIMEOUT
from .state import AppState, Files, InstanceState, Log, Refusal, Release, Settings, SocketUnits

#: Seconds for which an instance that is not ready is looked at again: it may be between two tries to boot.
SETTLE = 6.0
_WHY_AT_MOST = 300


def written_at(app: App) -> dict[str, float]:
    """The files of an app that deploys write, and when they were written."""
    paths = (os.path.join(app.root, "state.json"), os.path.join(app.root, "current", "release.json"))
    return {path: changed for path, changed in ((path, _changed_at(path)) for path in paths) if changed}


def observe_app(
    seen: AppState,
    settings: Settings,
    pids: dict[int, inspection.HostProcess],
    supervisor: Supervisor,
    running: list[Process] | None,
) -> None:
    """Fill in the state of an app.

    :param settings: the sections of the file that starts it
    :param pids: the processes of the host
    :param running: the processes of all programs; None if supervisord does not answer
    """
    app = seen.app
    seen.release = _observe_release(app)
    if not app.conf or not seen.release.can_run:
        return
    section = next((name for name in settings if name.partition(":")[2].strip() == app.name), "")
    seen.program = settings.get(section, {})
    seen.files = _observe_files(app, str(seen.release.id))
    seen.deploying = _deploying(app, pids)
    seen.jobs = jobs.observe(app.name)
    seen.job_logs = {job.name: last_text(jobs.log(app.log_dir, app.name, job.name)) for job in seen.jobs if job.failure}
    _observe_journal(seen, os.path.join(app.root, "activation.json"))
    if app.by_systemd:
        seen.socket_units = _observe_socket_units(app)
    if running is not None:
        own = [process for process in running if process.group == app.name]
        seen.is_loaded = bool(own)
        _observe_instances(seen, supervisor, own)


def _observe_release(app: App) -> Release:
    store = ReleaseStore(app.root)
    current = store.current()
    inside = os.path.join(app.root, "current")
    service = service_of(inside)
    return Release(
        id=current,
        is_complete=bool(current and store.is_complete(current)),
        python_runs=os.access(os.path.join(inside, "venv", "bin", "python"), os.X_OK),
        mount=inspection.mount_of(app.root),
        unmounted=_unmounted_above(app.root),
        graceful_timeout=service.graceful_timeout,
        question=service.question(),
        history=store.history(),
        damage_of_state=store.damage_of_state(),
    )


def _unmounted_above(path: str) -> tuple[str, str] | None:
    """The nearest volume of /etc/fstab that a path should lie on and that is not mounted: mount point and device."""
    wanted = inspection.expected_mounts()
    place = os.path.normpath(path)
    while place != "/":
        if place in wanted and not os.path.ismount(place):
            return place, wanted[place]
        place = os.path.dirname(place)
    return None


def _observe_files(app: App, release: str) -> Files:
    inside = os.path.join(app.root, "releases", release)
    environment = places.env_file(app.name)
    opened = os.path.exists(environment) and os.stat(environment).st_mode & 0o007
    return Files(
        run_dir_exists=os.path.isdir(app.run_dir),
        tmpfiles_exists=os.path.exists(places.tmpfiles(app.name)),
        log_dir_exists=os.path.isdir(app.log_dir),
        refusals=[
            Refusal(purpose, place, inspection.describe_mode(place))
            for path, wanted, purpose in _needed(app, inside)
            for place in [inspection.refusal(app.user, path, wanted)]
            if place
        ],
        open_environment=inspection.describe_mode(environment) if opened else "",
        writable_release="" if inspection.refusal(app.user, inside, os.W_OK) else inspection.describe_mode(inside),
    )


def _needed(app: App, inside: str) -> list[tuple[str, int, str]]:
    """The paths that the app's user needs, each with the access and the reason."""
    needed = [
        (os.path.join(inside, "pygun.py"), os.R_OK, "read the release"),
        (
            os.path.join(os.path.realpath(os.path.join(inside, "venv")), "bin", "gunicorn"),
            os.R_OK | os.X_OK,
            "run gunicorn",
        ),
        (os.path.join(inside, "lib", "pygun_runtime", "launch.py"), os.R_OK, "read the runtime"),
        (places.env_file(app.name), os.R_OK, "read its environment file"),
        (app.run_dir, os.W_OK | os.X_OK, "write its sockets and readiness records"),
        *(
            (os.path.join(app.log_dir, f"{app.name}-{number}.log"), os.W_OK, "write its log")
            for number in range(app.instances)
        ),
        (os.path.join(app.root, "shared"), os.W_OK | os.X_OK, "write its shared directory"),
    ]
    if os.path.isdir(os.path.join(inside, "src")):
        needed.append((os.path.join(inside, "src"), os.R_OK | os.X_OK, "read its source"))
    return needed


def _deploying(app: App, pids: dict[int, inspection.HostProcess]) -> str:
    """The holder of the app's lock, if a deploy runs now."""
    path = os.path.join(app.root, "activation.lock")
    try:
        holder = foreign.mapping(path)
    except (OSError, foreign.Unreadable):
        holder = {}
    pid = holder.get("pid")
    # By the record alone where the kernel's table names another device; an app may have got the pid of a run that was killed.
    process = pids.get(pid) if isinstance(pid, int) else None
    if (process and process.user == "root") or inspection.lock_holders(path):
        return f"pid {pid} since {holder.get('since', '?')}, by {holder.get('by') or '?'}"
    return ""


def _observe_journal(seen: AppState, path: str) -> None:
    """Whether there is a journal, and why the activation failed that left it there, if it was not interrupted."""
    seen.has_journal = os.path.lexists(path)
    try:
        entries = foreign.mapping(path)
        if seen.has_journal and not entries:
            seen.damage_of_journal = "is empty"
        seen.failed_because = foreign.printable(str(entries.get("failed") or ""), _WHY_AT_MOST)
    except (OSError, foreign.Unreadable) as error:
        seen.damage_of_journal = foreign.printable(str(error), _WHY_AT_MOST)


def _observe_socket_units(app: App) -> SocketUnits:
    socket = SystemdSocket(app.name)
    _code, text = inspection.run(["systemctl", "is-active", *socket.sockets])
    states = {**dict.fromkeys(socket.sockets, ""), **dict(zip(socket.sockets, text.split()))}
    return SocketUnits(states, socket.wanted() or "", socket.listening())


def _observe_instances(seen: AppState, supervisor: Supervisor, own: list[Process]) -> None:
    app = seen.app
    count = min(app.instances or len(own), len(own))
    for process in own:
        if process.number < count:
            seen.instances.append(_observe_instance(app, supervisor, process))
    if any(NOT_OPENED in one.process.spawn_error for one in seen.instances if not one.ready):
        seen.obstacle = obstacle(app.bind)
    if any(one.ready for one in seen.instances):
        _ask(seen)


def _observe_instance(app: App, supervisor: Supervisor, process: Process) -> InstanceState:
    process, ready = settle(app, supervisor, process, SETTLE)
    directory = RunDirectory(app.run_dir)
    return InstanceState(
        process=process,
        ready=ready,
        log=_observe_log(process.log_file or os.path.join(app.log_dir, f"{process.name}.log")),
        uptime=inspection.uptime_of(process.pid),
        record=directory.record(process.name),
        record_error=directory.wrong(process.name),
        ready_workers=directory.ready_workers(process.name, process.pid),
        dirty=directory.dirty_arbiter(process.name, process.pid),
    )


def _observe_log(path: str) -> Log:
    raw = raw_log(path)
    return Log(path, last_text(path), _changed_at(path), last_text(raw), _changed_at(raw))


def _ask(seen: AppState) -> None:
    """Ask the instances that are ready on their private sockets, and all of them on the public address."""
    app, directory = seen.app, RunDirectory(seen.app.run_dir)
    question = seen.release.question
    for instance in seen.instances:
        if instance.ready:
            process = instance.process
            instance.answer = directory.ask(process.name, process.pid, question.path, ANSWER_TIMEOUT, question.host)
    if app.bind:
        seen.answer = ask_bind(app.bind, question.path, ANSWER_TIMEOUT, question.host)


def _changed_at(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
