# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks of supervisord: its unit, other supervisords, its leftovers, and whether it answers."""

from __future__ import annotations

import typing as t

from ..diagnosis.symptoms import diagnose
from ..host import inspection
from ..host.inspection import HostProcess
from ..supervisor.others import is_supervisord
from .addresses import holders_text, port_of
from .findings import ERROR, WARNING, Finding, from_table
from .state import HostState

#: Seconds after which a supervisord that was started has found out whether it can run.
STAYS = 10.0


def strangers(state: HostState) -> dict[int, HostProcess]:
    """The supervisords that the unit does not run."""
    return {pid: process for pid, process in state.processes.items() if _is_stranger(state, process)}


def _is_stranger(state: HostState, process: HostProcess) -> bool:
    own = state.supervisord.pid
    ours = own and own in (process.pid, process.parent)  # its child, about to become a program
    # systemd may have begun its next try since its unit was read.
    next_try = not own and process.unit == state.options.unit
    # Without root's rights it has neither our sockets nor our files; any user can start a process of that name.
    return is_supervisord(process.command) and process.user == "root" and not ours and not next_try


def check_unit(state: HostState) -> t.Iterator[Finding]:
    unit, seen = state.options.unit, state.unit
    symptom = f"{unit} is {seen.enabled} and {seen.active}"
    if seen.load == "not-found":
        yield Finding(
            ERROR,
            "unit-missing",
            unit,
            f"there is no {unit}",
            "supervisord was never installed on this host, or its unit was removed.",
            "Deploy: the role pygun.stack.supervisor installs it.",
            names_unit=True,
        )
    elif seen.load == "masked":
        yield Finding(
            ERROR,
            "unit-masked",
            unit,
            symptom,
            "The unit was masked: nothing can start it, and after a reboot nothing runs.",
            f"systemctl unmask {unit} && systemctl enable --now {unit}",
            names_unit=True,
        )
    elif seen.properties.get("UnitFileState") == "disabled":
        yield Finding(
            ERROR,
            "unit-disabled",
            unit,
            symptom,
            "The unit was disabled: after a reboot nothing runs.",
            f"systemctl enable --now {unit}",
            names_unit=True,
        )


def check_other_supervisords(state: HostState) -> t.Iterator[Finding]:
    unit, others = state.options.unit, strangers(state)
    for process in others.values():
        if process.parent in others:
            continue
        ours = (
            state.configuration.path in process.command
            or process.unit == "supervisor.service"
            or not state.supervisord.pid
        )
        ending = (
            f"systemctl disable --now {process.unit}"
            if process.unit.endswith(".service") and process.unit != unit
            else f"kill {process.pid}"
        )
        yield Finding(
            ERROR if ours else WARNING,
            "supervisor-second",
            str(process),
            f"a second supervisord runs next to {unit}: {process}",
            "The distribution's supervisor, or one that was started by hand. Two of them fight over sockets, ports and"
            " files: the second to start says `Another program is already listening on a port that one of our HTTP"
            " servers is configured to use`.",
            f"Move its programs away, and end it (`{ending}`). {_then_start(state)}",
            names_unit=True,
        )


def check_web_port(state: HostState) -> t.Iterator[Finding]:
    page = state.configuration.get("inet_http_server", "port")
    port = port_of(page)
    known = {state.supervisord.pid, *strangers(state)}
    for listener in state.listeners.get(port, []) if port else []:
        address = page.rpartition(":")[0].strip("[]*")
        if inspection.collide(listener.address, address) and not known & set(listener.pids):
            yield Finding(
                ERROR,
                "web-port-taken",
                page,
                f"{holders_text(state, listener)} listens on {listener.address}:{port}",
                "supervisord's web page has to listen there, so supervisord cannot start: `Another program is already"
                " listening on a port that one of our HTTP servers is configured to use`.",
                "End that program, or choose another supervisor_http_port and deploy.",
            )


def _then_start(state: HostState) -> str:
    """The remedy for the time when the obstacle to supervisord's start is gone."""
    if state.unit.starts_again:
        return f"systemd then starts {state.options.unit} within seconds: it goes on trying."
    return f"Then `systemctl restart {state.options.unit}`."


def check_unit_runs(state: HostState) -> t.Iterator[Finding]:
    """supervisord does not run. Which findings explain that, `explanations` knows."""
    unit, seen, stale = state.options.unit, state.unit, state.configuration.run_files
    if not seen.properties or seen.active == "active":
        return
    consequence = f"; {unit} is {seen.active}"
    if stale and not state.supervisord.pid:
        files = " and ".join(stale)
        yield Finding(
            ERROR,
            "stale-files",
            files,
            f"{unit} is {seen.active}, and {files} {'is' if len(stale) == 1 else 'are'} still there",
            "A supervisord was killed and could not clean up. Nobody listens there (`refused connection`).",
            f"systemctl start {unit} (supervisord replaces what is stale)",
            consequence=consequence,
        )
    elif seen.active in ("failed", "activating"):
        yield _failed_unit(state, consequence)
    else:
        yield Finding(
            ERROR,
            "unit-stopped",
            unit,
            f"{unit} is {seen.active} ({seen.properties.get('Result')})",
            "Somebody stopped it.",
            f"systemctl start {unit}",
            consequence=consequence,
        )


def _failed_unit(state: HostState, consequence: str) -> Finding:
    unit, seen = state.options.unit, state.unit
    known = diagnose(f"{seen.log}\n{seen.journal}", "supervisord") or diagnose(seen.journal)
    if known:
        cause = known.cause
    elif seen.starts_again:
        cause = f"It ends each time that systemd starts it ({seen.properties.get('NRestarts')} times so far)."
    else:
        cause = "It ended, and systemd does not start it again."
    return Finding(
        ERROR,
        "unit-failed",
        unit,
        f"{unit} is {seen.active} ({seen.properties.get('Result')}):\n{seen.journal}",
        cause,
        known.remedy if known else f"Correct what the lines above say. {_then_start(state)}",
        consequence=consequence,
    )


def stays(state: HostState) -> bool:
    """Whether a supervisord runs that is more than one of many that systemd starts and that cannot stay."""
    server = state.supervisord
    obstacles = [*check_other_supervisords(state), *check_web_port(state)]
    return bool(server.pid) and not (obstacles and server.uptime < STAYS)


def check_answers(state: HostState) -> t.Iterator[Finding]:
    """Whether supervisorctl and this collection can talk to a supervisord that runs."""
    unit, control, error = state.options.unit, state.supervisord.control, state.supervisord.error
    if not stays(state):
        return
    if control.status and not control.timed_out:
        known = diagnose(control.text, "supervisord")
        if known:
            first = control.text.partition("\n")[0]
            yield from_table(known, unit, f"supervisorctl says: {first}", kind="supervisorctl")
        else:
            yield Finding(
                ERROR,
                "supervisorctl",
                unit,
                f"supervisorctl ends with {control.status}: {control.text[-300:]}",
                "supervisorctl cannot talk to supervisord, which runs.",
                f"systemctl restart {unit}",
            )
    elif error:
        yield Finding(
            ERROR,
            "supervisord-silent",
            unit,
            error,
            "supervisord runs but does not answer on its socket: it is stopped (SIGSTOP, a debugger), or hangs in a system call.",
            f"systemctl restart {unit}",
        )
