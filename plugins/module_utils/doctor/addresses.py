# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks of the apps' public addresses: other programs that have them, and leftovers of the app itself."""

from __future__ import annotations

import typing as t

from ..host import inspection
from ..host.inspection import HostProcess, Listener
from ..instance.discovery import App
from ..instance.public_socket import SystemdSocket
from .findings import ERROR, Finding
from .state import AppState, HostState


def port_of(address: str) -> int:
    """The port of ``HOST:PORT``; 0 if there is none."""
    port = address.rpartition(":")[2]
    return int(port) if port.isdigit() else 0


def holders_text(state: HostState, listener: Listener) -> str:
    """The programs that hold a listening socket, in words."""
    shown = [str(state.processes[pid]) for pid in listener.pids if pid in state.processes]
    if shown:
        return "; ".join(shown[:3])
    candidates = [str(process) for process in state.processes.values() if process.user == listener.user]
    text = f"a process of user {listener.user} (which one, root cannot see on this host, for want of CAP_SYS_PTRACE)"
    return text if len(candidates) > 3 else f"{text}: {' or '.join(candidates) or 'in another container?'}"


def processes_of(state: HostState, app: App) -> dict[int, HostProcess]:
    """Every process that runs from a release of the app."""
    return {
        pid: process
        for pid, process in state.processes.items()
        if process.user == app.user and any(part.startswith(f"{app.root}/releases/") for part in process.command)
    }


def orphans_of(state: HostState, app: App, strangers: t.Collection[int]) -> list[HostProcess]:
    """gunicorn masters of the app that no supervisord knows, be it ours or a stranger."""
    ours = processes_of(state, app)
    return [
        process
        for process in ours.values()
        if process.parent not in ours
        and any(part.endswith("/bin/gunicorn") for part in process.command)
        and process.parent not in (state.supervisord.pid, *strangers)
    ]


def check_address(state: HostState, seen: AppState, strangers: t.Collection[int]) -> t.Iterator[Finding]:
    """Orphans of the app, and other programs that listen on its address.

    :param strangers: pids of other supervisords: they are a finding of their own
    """
    app = seen.app
    orphans = orphans_of(state, app, strangers)
    for listener in _listeners_in_the_way(state, app, orphans):
        if set(listener.pids) & set(strangers):
            continue
        own = [process for process in orphans if process.pid in listener.pids or not listener.pids]
        if own:
            orphans.remove(own[0])
            yield _orphan(app, own[0], app.bind)
        else:
            yield _port_taken(state, app, listener)
    for process in orphans:
        yield _orphan(app, process, "")


def _listeners_in_the_way(state: HostState, app: App, orphans: list[HostProcess]) -> list[Listener]:
    """Those on the app's TCP address that are neither supervisord, nor systemd for it, nor an instance."""
    port = 0 if app.bind.startswith("unix:") else port_of(app.bind)
    # The instances hold what was handed to them, also when systemd has let go of it.
    lost = {process.pid for process in orphans}
    rightful = {pid for pid, process in processes_of(state, app).items() if not {pid, process.parent} & lost}
    rightful |= {state.supervisord.pid, 1 if app.by_systemd else 0} - {0}
    address = app.bind.rpartition(":")[0].strip("[]")
    return [
        listener
        for listener in (state.listeners.get(port, []) if port else [])
        if inspection.collide(listener.address, address) and not rightful & set(listener.pids)
    ]


def _port_taken(state: HostState, app: App, listener: Listener) -> Finding:
    return Finding(
        ERROR,
        "port-taken",
        app.name,
        f"{holders_text(state, listener)} listens on {listener.address}:{listener.port}",
        f"Another program has the address of {app.name} ({app.bind}), so that {'systemd' if app.by_systemd else 'supervisord'}"
        " cannot open it: `[Errno 98] Address already in use`. The other apps are not concerned.",
        f"Stop that program (and whatever starts it at boot), or give the app another flask_app_bind. {then_open(app)}",
        app=app.name,
    )


def _orphan(app: App, process: HostProcess, bind: str) -> Finding:
    return Finding(
        ERROR,
        "orphan",
        app.name,
        f"{process} runs, and supervisord does not know it" + (f"; it has {bind}" if bind else ""),
        "It was left behind by a supervisord that was killed, or started by hand."
        + (" supervisord cannot open the address: `[Errno 98] Address already in use`." if bind else ""),
        f"kill {process.pid} (it finishes its requests). {then_open(app)}",
        app=app.name,
    )


def then_open(app: App) -> str:
    """The remedy for the time when the app's address is free."""
    if app.by_systemd:
        return f"Then `systemctl restart {' '.join(SystemdSocket(app.name).sockets)}`."
    return "supervisord tries again every few seconds: the app then comes up by itself."
