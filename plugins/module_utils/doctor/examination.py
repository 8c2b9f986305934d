# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Examine a host: find out what is wrong, why, and what to do. Changes nothing, and needs no variables of the apps.

`observe` reads the state of the host once; the checks look at that state and yield findings; `explanations` leaves out those
that follow from another one: a volume that is not mounted is one finding, not twenty.
"""

from __future__ import annotations

import typing as t

from ..host import foreign
from . import addresses, app, balancer, configuration, frozen, host, instances, jobs, programs, supervisord
from .explanations import explain
from .facts import facts_of
from .findings import ERROR, Finding
from .observe import observe
from .state import AppState, HostState, Options


def examine(options: Options) -> dict[str, t.Any]:
    """Findings, the worst first, and the facts that matter."""
    state = observe(options)
    findings = findings_of(state)
    return {
        "healthy": not findings,
        "findings": [finding.shown() for finding in findings],
        "facts": facts_of(state),
    }


def findings_of(state: HostState) -> list[Finding]:
    """The findings that no other one explains, the worst first. Their order within a severity is that of the checks."""
    return sorted(explain(list(_check(state))), key=lambda finding: finding.severity != ERROR)


def _check(state: HostState) -> t.Iterator[Finding]:
    yield from host.check_disks(state)
    yield from host.check_clock(state)
    yield from balancer.check_balancer(state)
    if state.is_balancer_alone:
        yield from host.check_memory(state)
        return
    yield from supervisord.check_unit(state)
    yield from configuration.check_hidden_characters(state)
    yield from configuration.check_file(state)
    yield from configuration.check_parser(state)
    yield from configuration.check_sections(state)
    yield from supervisord.check_other_supervisords(state)
    yield from supervisord.check_web_port(state)
    strangers = supervisord.strangers(state)
    for seen in state.apps:
        yield from addresses.check_address(state, seen, strangers)
    yield from supervisord.check_unit_runs(state)
    yield from supervisord.check_answers(state)
    yield from frozen.check_frozen(state)
    for seen in state.apps:
        yield from _check_alone(state, seen)
    if supervisord.stays(state):
        yield from programs.check_programs(state)
    yield from host.check_memory(state)
    yield from host.check_rotation(state)
    yield from host.check_apps_exist(state)


def _check_alone(state: HostState, seen: AppState) -> t.Iterator[Finding]:
    """Check one app. The others are checked whatever it brings along."""
    try:
        yield from _check_app(state, seen)
    except Exception as error:  # pylint: disable=broad-except
        seen.error = seen.error or foreign.printable(f"{type(error).__name__}: {error}")
    yield from app.check_observed(seen)


def _check_app(state: HostState, seen: AppState) -> t.Iterator[Finding]:
    if not seen.release.can_run:
        if not seen.error:
            yield from app.check_release(state, seen)
        return
    if not seen.app.conf:
        yield from app.missing_program(state, seen)
        return
    yield from app.check_program(seen)
    yield from app.check_files(seen)
    yield from app.check_secrets(seen)
    yield from app.check_deploy(seen)
    yield from app.check_socket_units(seen)
    yield from jobs.check_jobs(seen)
    if not supervisord.stays(state):
        return
    yield from app.check_loaded(seen)
    yield from instances.check_closed_socket(seen)
    for instance in seen.instances:
        yield from instances.check_instance(state, seen, instance)
    for instance in seen.instances:
        yield from instances.check_answer(seen, instance)
    yield from app.check_public_answer(seen)
