# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The processes of programs, and when they count as started."""

from __future__ import annotations

from ..supervisor import program_settings
from ..supervisor.rpc import Process

POLL = 0.05
#: Seconds within which supervisord has to answer.
ANSWER_TIMEOUT = 5.0
#: Seconds that supervisord may take to listen after it was started, also on a busy host.
START_TIMEOUT = 15.0
#: The last lines of a program's log that a message shows.
LOG_LINES = 15


def is_up(process: Process, entry: program_settings.Entry) -> bool:
    if process.state == "RUNNING":
        return True
    if process.state != "EXITED" or str(entry.get("autorestart")).lower() in ("true", "yes", "on", "1"):
        return False
    codes = entry.get("exitcodes") or [0]
    return process.exit_status in [int(code) for code in codes]  # it has done what it had to do


def entry_of(entries: dict[str, program_settings.Entry], process: str) -> program_settings.Entry:
    """The program that a process belongs to: mailer-3 is one of mailer's."""
    return entries.get(process) or entries[process.rpartition("-")[0]]
