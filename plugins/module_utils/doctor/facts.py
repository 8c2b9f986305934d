# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The facts that matter of a host, whether or not something is wrong."""

from __future__ import annotations

import typing as t

from .host import seconds_ahead
from .state import AppState, HostState
from .supervisord import stays


def facts_of(state: HostState) -> dict[str, t.Any]:
    """Facts about disk, clock, supervisord and apps, as far as they could be observed."""
    facts: dict[str, t.Any] = {}
    for disk in state.disks:
        if disk.mount == state.base_mount and disk.size:
            facts["disk"] = {"mount": disk.mount, "free": disk.free, "percent_free": 100 * disk.free // disk.size}
    facts["clock"] = {"synchronized": state.clock_is_synchronized}
    ahead = seconds_ahead(state)
    if ahead is not None:
        facts["clock"]["ahead_s"] = round(ahead, 1)
    answers = stays(state)
    if answers:
        server = state.supervisord
        facts["supervisord"] = {"pid": server.pid, "uptime_s": round(server.uptime)}
        if server.version:
            facts["supervisord"]["version"] = server.version
    if state.apps:
        facts["apps"] = {seen.app.name: _facts_of_app(seen, answers) for seen in state.apps}
    return facts


def _facts_of_app(seen: AppState, answers: bool) -> dict[str, t.Any]:
    app, history = seen.app, seen.release.history
    facts: dict[str, t.Any] = {"release": seen.release.id, "address": app.bind, "log_dir": app.log_dir}
    if history:
        facts.update(since=history[-1].get("at"), by=history[-1].get("by") or "")
    if seen.deploying:
        facts["deploying"] = seen.deploying
    if answers and seen.instances:
        ready = [one for one in seen.instances if one.ready]
        if ready:
            facts["gunicorn"] = ready[0].record.get("gunicorn")
        facts.update(instances=len(seen.instances), ready=len(ready), workers=sum(one.ready_workers for one in ready))
    return facts
