# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The release command, which runs once before a new release serves, such as the migration of a database."""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import signal
import subprocess
import tempfile
import time

from ..diagnosis.log_tail import plain_lines, shown
from ..host import app_process
from ..host.adoption import daemons_ended
from ..host.text import name_of_signal
from ..release.command_records import BEGAN, DONE, FAILED, INTERRUPTED, CommandRecords
from ..release.commands import text_of
from .errors import StepFailure
from .instances import Instances
from .journal import Journal
from .report import Report
from .survey import Survey

STEP = "release command"
#: Seconds that a command has to end after SIGTERM.
_GRACE = 10.0


class ReleaseCommand:
    """Runs the commands in the new release, as the app's user and with the app's new environment, before an instance is touched."""

    def __init__(self, journal: Journal, instances: Instances, survey: Survey, report: Report) -> None:
        self.options = instances.options
        self.journal = journal
        self.instances = instances
        self.survey = survey
        self.report = report
        self.records = CommandRecords(survey.store)

    def run(self) -> None:
        """Run the commands if they are due. A host that is not the first of its rollout only records that they have run."""
        self._say_interrupted()
        if not self.survey.command_is_due():
            return
        options, wanted = self.options, self.survey.wanted
        text, former = text_of(options.release_command), self.records.all().get(self.survey.wanted)
        self.report.step = STEP
        self.journal.save(step=STEP)
        if options.release_command_host:
            changed, host = options.release_command_changed, options.release_command_host
            self.records.note(wanted, text, DONE, host, changed, former)
            self.report.data_changed = f"The release command has run on {options.release_command_host} ({text}): what it has changed stays changed."
            return
        self.records.note(wanted, text, BEGAN)
        self.journal.checkpoint(STEP)
        before, begun, lines = self._state(), time.monotonic(), []
        try:
            for command in options.release_command:
                self.report.data_changed = f"What the release command may have changed ({text}) stays changed."
                left = options.release_command_timeout - (time.monotonic() - begun)
                lines += shown(plain_lines(self._run(command, left)))
        except Exception:
            with contextlib.suppress(OSError):  # a full disk
                self.records.note(wanted, text, FAILED)
            raise
        seconds, after = round(time.monotonic() - begun, 2), self._state()
        changed = not before or before != after
        self.records.note(wanted, text, DONE, changed=changed, former=former)
        # The first of two runs has done it, if the activation of that one failed later.
        changed = changed or self.records.may_have_changed_since(former, self.survey.baseline)
        self.report.data_changed = f"The release command has run ({text}): what it has changed stays changed."
        self.report.command = {"command": text, "seconds": seconds, "lines": lines, "changed": changed}
        self.journal.checkpoint(f"{STEP} done")

    def is_to_run(self) -> bool:
        """Whether the command is due and no other host of the rollout has run it."""
        return self.survey.command_is_due() and not self.options.release_command_host

    def predict(self) -> None:
        """Put the command that would run into the report."""
        if self.is_to_run():
            self.report.command = {
                "command": text_of(self.options.release_command),
                "seconds": 0.0,
                "lines": [],
                "changed": True,
            }

    def _state(self) -> str:
        """What the command about the state of the data prints, such as the revision of a database; empty if that is not known."""
        try:
            return "\n".join(
                self._run(command, self.options.release_command_timeout, without_errors=True).strip()
                for command in self.options.release_command_state
            )
        except StepFailure as failure:
            self.report.warn(
                f"flask_app_release_command_state: {failure.why}. So the release command counts as one that has changed data."
            )
            return ""

    def _say_interrupted(self) -> None:
        for release, record in self.records.interrupted().items():
            again = (
                "it runs again"
                if release == self.survey.wanted and self.survey.command_is_due()
                else "it is not run now"
            )
            self.report.warn(
                f"A run that was interrupted had begun the release command of release {release} ({record['command']}), and whether that"
                f" has ended is not known; {again}."
            )
            self.records.note(release, record["command"], INTERRUPTED)

    def _run(self, command: tuple[str, ...], seconds: float, without_errors: bool = False) -> str:
        """Run one command; return what it printed.

        :param without_errors: whether that is its standard output alone. What it logs, with the time, goes to its standard error
        :raises StepFailure: when it fails, or takes longer than that
        """
        release = self.survey.store.path(self.survey.wanted)
        account = pwd.getpwnam(self.instances.program.user() or pwd.getpwuid(os.geteuid()).pw_name)
        python, run = (
            os.path.join(release, *parts) for parts in (("venv", "bin", "python"), ("lib", "pygun_runtime", "run.py"))
        )
        home, given = os.path.join(self.options.root, "shared"), self.instances.environment()
        environment = app_process.variables(account, home, given)
        # Files: a pipe that a daemon inherits never ends.
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors, daemons_ended():
            process = app_process.start(
                [python, "-IS", run, *command],
                account,
                environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors if without_errors else output,
            )
            with app_process.ended_with_us(process):
                late = _is_late(process, seconds)
                app_process.kill_group(process)
            text, logged = (self.report.masked(app_process.tail(stream)) for stream in (output, errors))
        if not late and process.returncode == 0:
            return text
        words = shlex.join(command)
        if late:
            why = f"had not ended after {self.options.release_command_timeout:g} s (flask_app_release_command_timeout)"
        elif process.returncode < 0:
            why = f"was terminated by {name_of_signal(-process.returncode)}"
        else:
            why = f"ended with exit code {process.returncode}"
        raise StepFailure(
            f"the release command {why}: {words}",
            log_file="its output",
            log=text + logged,
            blames_release=True,
            reproduce=f"sudo -u {account.pw_name} {os.path.join(release, 'run')} {words}",
        )


def _is_late(process: subprocess.Popen, seconds: float) -> bool:
    """Wait for the end of the process; send it SIGTERM at its time limit. Return whether the limit was reached."""
    try:
        process.wait(max(0.0, seconds))
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        pass  # the caller kills it
    return True
