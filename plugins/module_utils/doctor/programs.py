# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks of all programs that are not instances: those of an app's release, and those outside of apps."""

from __future__ import annotations

import typing as t

from ..diagnosis import log_tail
from ..supervisor.other_programs import wrong_with
from .findings import ERROR, Finding
from .instances import shown_lines
from .state import HostState, ProgramState


def check_programs(state: HostState) -> t.Iterator[Finding]:
    """Programs and listeners that do not run, or run another release than `current`."""
    for program in state.programs:
        process, seen = program.process, program.of_release
        app = seen.program.app if seen else ""
        wrong = wrong_with(process, program.settings)
        if not wrong and seen and seen.other_release:
            yield Finding(
                ERROR,
                "other-release",
                process.full_name,
                f"{process.name} {seen.other_release}",
                "`current` was moved by hand, or the program was.",
                "Restart the app (playbook pygun.stack.restart), or deploy or roll back to the release that you want.",
                app=app,
            )
        if not wrong:
            continue
        if process.state in ("STOPPED", "STOPPING"):
            yield Finding(
                ERROR,
                "program-stopped",
                process.full_name,
                f"{process.name} {wrong}.",
                "Somebody stopped it (supervisorctl stop, or the web page).",
                f"supervisorctl start {process.full_name}",
                app=app,
            )
            continue
        shown = shown_lines(log_tail.plain_lines(program.log))
        yield Finding(
            ERROR,
            "program-failed",
            process.full_name,
            f"{process.name} {wrong}." + (f" It says:{shown}" if shown else ""),
            "It ends by itself, or cannot be started. Its own words are all there is.",
            _remedy(program),
            app=app,
        )


def _remedy(program: ProgramState) -> str:
    name, seen = program.process.full_name, program.of_release
    if seen is None:
        return (
            f"Correct what it says (all of it: supervisorctl tail {name}), then `supervisorctl start {name}`. Its settings are in"
            " supervisor_programs."
        )
    return (
        f"Correct what it says, then deploy; supervisord goes on trying. To see it by hand: sudo -u {seen.program.user}"
        f" {seen.program.root}/current/run {seen.program.command}. Its settings are in flask_app_programs."
    )
