# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Check of processes that are stopped and that everybody takes for running. supervisord itself is found by its silence."""

from __future__ import annotations

import typing as t

from ..instance.frozen import frozen_processes
from .findings import ERROR, Finding
from .state import HostState


def check_frozen(state: HostState) -> t.Iterator[Finding]:
    apps = [seen.app.name for seen in state.apps]
    for one in frozen_processes(state.processes, state.supervisord.running or [], apps):
        if state.options.name and not one.app:
            continue
        yield Finding(
            ERROR,
            "process-stopped",
            one.name,
            one.text,
            "Somebody sent it SIGSTOP, or a debugger holds it. It does nothing, and neither supervisord nor systemd notices.",
            f"kill -CONT {one.process.pid}",
            app=one.app,
        )
