# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks of an app's jobs."""

from __future__ import annotations

import typing as t

from ..diagnosis.log_tail import plain_lines
from ..host.foreign import printable
from ..instance.jobs import log
from .findings import ERROR, WARNING, Finding
from .state import AppState


def check_jobs(seen: AppState) -> t.Iterator[Finding]:
    """Jobs whose last run failed, and those that nothing starts."""
    app = seen.app
    for job in seen.jobs:
        if job.failure:
            lines = plain_lines(seen.job_logs.get(job.name, ""))
            said = f"; its last words: {printable(lines[-1])}" if lines else ""
            yield Finding(
                WARNING,
                "job-failed",
                f"{app.name}, job {job.name}",
                f"the last run {job.failure}{said}",
                f"The command itself; {log(app.log_dir, app.name, job.name)} has its output, and `journalctl -u {job.unit}` when it ran.",
                f"Correct the cause, then run it once: systemctl start {job.unit}.service. The next run that succeeds ends this finding.",
                app=app.name,
            )
        if job.timer != "active":
            yield Finding(
                ERROR,
                "job-timer",
                f"{app.name}, job {job.name}",
                f"{job.unit}.timer is {job.timer}: nothing starts the job",
                "It was stopped or disabled by hand, or systemd could not read it.",
                f"systemctl enable --now {job.unit}.timer; or deploy, which does the same.",
                app=app.name,
            )
