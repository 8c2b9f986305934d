# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Programs of the host that belong to no app."""

from __future__ import annotations

import typing as t

from .rpc import Process, Supervisor, SupervisorError


def program_settings(supervisor: Supervisor) -> dict[tuple[str, str], dict[str, t.Any]]:
    """The settings of each process in supervisord: (group, name) -> settings; empty if it does not answer."""
    try:
        found = supervisor.call("supervisor.getAllConfigInfo")
    except SupervisorError:
        return {}
    return {(one["group"], one["name"]): one for one in found}


def wrong_with(process: Process, setting: dict[str, t.Any]) -> str:
    """The problem of a program that is not an app's; empty if there is none."""
    if process.state in ("FATAL", "BACKOFF", "UNKNOWN"):
        return f"is {process.state}" + (f": {process.spawn_error}" if process.spawn_error else "")
    if process.state in ("STOPPED", "STOPPING") and setting.get("autostart", True):
        return f"is {process.state}, and is meant to run (autostart)"
    if process.state == "EXITED" and process.exit_status not in (setting.get("exitcodes") or [0]):
        return f"is EXITED with status {process.exit_status}"
    return ""
