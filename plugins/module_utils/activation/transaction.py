# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Put a release into service without losing a request, or leave the host as it was.

The transaction of one app::

    lock -> recover -> files -> trial -> command -> roll -> reconfigure -> programs -> verify -> commit -> prune
                          \\_________________________ back _________________________/

``current`` moves only at commit. Until then an instance runs the release through a candidate link in a directory of
root's, so after a crash or a reboot the old release starts. The exception is a first install, which has no old release.

The journal (``activation.json``) records the state of the host before the transaction. A run that finds one takes it over: it finishes
the commit if that had begun; otherwise it goes on from there, and if it fails, it goes back to the state that the
interrupted run had found.

Stop and start of an instance happen in a child process that outlives a kill of this one, so that a stopped instance
starts again.
"""

from __future__ import annotations

import os
import typing as t

from ..host.atomic import now, remove_file
from ..instance.public_socket import SocketError
from ..release.environments import Environments
from ..release.lock import Held, locked
from ..release.server_packages import stock_worker
from ..release.store import ReleaseStore
from ..supervisor.conf import STOP_MARGIN
from ..supervisor.rpc import SupervisorError, Unreachable, unusable
from .errors import ActivationError, StepFailure, error_text
from .files import put_back, remove_leftovers
from .gate import VERIFY_TIMEOUT
from .instances import Instances
from .journal import Journal
from .options import Options
from .own_files import OwnFiles
from .programs import Programs
from .release_command import ReleaseCommand
from .report import Report
from .roll import Roll
from .survey import Survey
from .trial import Trial
from .way_back import WayBack

#: What the host may do at any moment.
_DISTURBANCES = (OSError, SupervisorError, SocketError)


class Activation:
    """One run of the transaction. Call `run`, `predict` (check mode) or `settled`; one of them, once."""

    def __init__(self, options: Options, warn: t.Callable[[str], None] = lambda text: None) -> None:
        self.options = options
        self.warn = warn
        self.store = ReleaseStore(options.root)
        self.journal = Journal(options.root, self.checkpoint)
        self.instances = Instances(options, self.store, self.checkpoint)
        self.report = Report(options, self.store, self.instances, warn)
        self.programs = Programs(options, self.store, self.journal, self.instances, self.report)
        self.survey = Survey(options, self.store, self.journal, self.instances, self.programs, warn)
        self.own_files = OwnFiles(self.store, self.journal, self.instances, warn)
        self.roll = Roll(self.store, self.journal, self.instances, self.survey, self.report, warn)
        self.trial = Trial(self.store, self.journal, self.instances, self.survey, self.report, warn)
        self.release_command = ReleaseCommand(self.journal, self.instances, self.survey, self.report)
        self.way_back = WayBack(self.store, self.journal, self.instances, self.programs, self.survey, self.report)

    def checkpoint(self, name: str) -> None:
        """Called between two steps, with the name of the step that has just ended. Tests interrupt here."""

    # -- the three ways through --------------------------------------------------------------------------------------

    def run(self) -> dict[str, t.Any]:
        """Bring the wanted release into service; raises ActivationError and leaves the host as it was."""
        options = self.options
        if not os.path.isdir(options.root):
            raise ActivationError(f"There is no {options.root}. Nothing was changed.", step="prepare")
        try:
            patience = max(self.instances.program.stop_timeout(), self.programs.stop_timeout())
            with locked(options.root, options.by, patience + STOP_MARGIN):
                return self._run_locked()
        except Held as error:
            raise ActivationError(str(error), step="lock", holder=error.holder) from error
        except _DISTURBANCES as error:
            raise self._disturbed(error) from error

    def _run_locked(self) -> dict[str, t.Any]:
        self.checkpoint("locked")
        finished = self._recover()
        mended = self.own_files.mend()
        try:
            self.survey.resolve(may_be_missing=False)
            self.survey.inspect()
        except SupervisorError as error:
            raise ActivationError(unusable(error), step="prepare") from error
        differences = self.survey.differences()
        if not self.journal.is_open and not self.survey.work():
            self._check_untouched()
            return self.report.result(finished or mended, self.survey.wanted, differences)
        self.survey.refuse_damaged(self.survey.wanted)
        self.own_files.refuse_unknown(self.survey)
        self.programs.refuse_missing(self.survey.wanted)
        self._refuse_blocked()
        self._refuse_taken()
        self._begin()
        try:
            self._transact()
        except Exception as error:  # pylint: disable=broad-except
            failure = error if isinstance(error, StepFailure) else StepFailure(error_text(error))
            raise self.way_back.back(failure) from error
        self.checkpoint("commit")
        self._finish_commit()
        self._prune()
        return self.report.result(True, self.survey.wanted, differences)

    def predict(self) -> dict[str, t.Any]:
        """Return the result that `run` would have, on a host in any state. Writes nothing and touches no process."""
        try:
            return self._predict()
        except _DISTURBANCES as error:
            raise self._disturbed(error) from error

    def _predict(self) -> dict[str, t.Any]:
        interrupted = self.journal.load()
        self.survey.resolve(may_be_missing=True)
        try:
            self.survey.inspect()
            work = self.survey.work()
        except Unreachable:
            self.programs.find(self.survey.release_to_come())
            work = ["install"]
        except SupervisorError as error:
            raise ActivationError(unusable(error), step="prepare") from error
        if work and self.store.is_complete(self.survey.wanted):
            self.survey.refuse_damaged(self.survey.wanted)
            self.programs.refuse_missing(self.survey.wanted)
        self.own_files.refuse_unknown(self.survey)
        self._refuse_blocked(check=True)
        self._refuse_taken(check=True)
        self.release_command.predict()
        return self.report.result(
            bool(work or self.own_files.lost()) or interrupted, self.survey.wanted, self.survey.differences()
        )

    def settled(self) -> bool:
        """Whether `run` would have nothing to do and the app answers. If not, `run` says why."""
        options = self.options
        try:
            with locked(options.root, options.by, patience=0):
                if self.journal.load() or self.own_files.lost():
                    return False
                self._recover()  # of an interrupted run, no more than leftovers
                self.survey.resolve(may_be_missing=False)
                self.survey.inspect()
                if self.survey.work():
                    return False
                self._verify()
                return True
        except (Held, ActivationError, StepFailure, SupervisorError, SocketError, OSError):
            return False

    def _disturbed(self, error: Exception) -> ActivationError:
        """The error if the host fails where nothing has to be undone: before the transaction, or as its way back ends."""
        after = "The next run takes over from here." if self.journal.is_open else "No instance was touched."
        why = error_text(error).rstrip(".")
        return ActivationError(f"{why}. Remove the cause, then run this again. {after}", step=self.report.step)

    # -- before the transaction --------------------------------------------------------------------------------------

    def _recover(self) -> bool:
        """Take over what an interrupted run left; return whether that finished a commit."""
        interrupted = self.journal.load()
        for path in (self.journal.path, self.store.state_file, self.store.link):
            remove_leftovers(path)
        if not interrupted:
            return False
        entries = self.journal.entries
        for file in entries["files"]:
            remove_leftovers(file["path"])
        if entries["step"] != "commit":
            return False
        self.warn("An earlier activation was interrupted while it committed; that has been finished.")
        self.survey.wanted, self.survey.baseline = entries["release"], entries["baseline"]
        self._finish_commit()
        return True

    def _check_untouched(self) -> None:
        """Check that the service answers, although nothing has to be done: "ok" means that it does."""
        self.report.step = "verify"
        try:
            self._verify()
        except StepFailure as failure:
            what = "The wanted release runs already, but:"
            raise self.report.error(failure, self.survey.wanted, what, "Nothing was changed.") from failure

    def _refuse_blocked(self, check: bool = False) -> None:
        """Refuse if another process keeps the public socket from being opened. The app's own leftovers are ended, unless this is a check."""
        if not self.instances.blocked() or self.survey.reconfigure or self.journal.is_open:
            return
        seen = self.instances.clear_address(check)
        if seen:
            raise ActivationError(
                f"supervisord {self.instances.processes[0].spawn_error}: {seen}. Remove that obstacle: supervisord"
                " tries again every few seconds. Or give the app another flask_app_bind. Nothing was changed.",
                step="prepare",
            )

    def _refuse_taken(self, check: bool = False) -> None:
        """Refuse a new address that is taken, since a new program closes the old address first."""
        seen = "" if self.journal.is_open else self.instances.taken(check)
        if seen:
            raise ActivationError(
                f"{self.options.name} cannot listen on {seen}. Remove that obstacle, or give the app another flask_app_bind."
                " Nothing was changed.",
                step="prepare",
            )

    # -- the transaction ---------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Write the journal. From here on, the next run takes over an interrupted one."""
        if not self.journal.is_open:
            idle = [one.name for one in self.instances.serving() if one.state in ("STOPPED", "STOPPING")]
            idle += self.programs.idle()
            self.journal.begin(self.survey.baseline, had_program=bool(self.instances.processes), stopped=idle)
        begun = {"pid": os.getpid(), "started": now(), "by": self.options.by, "rollout": self.options.rollout}
        try:
            self.journal.save(step="files", release=self.survey.wanted, failed="", **begun)
        except OSError as error:
            raise ActivationError(
                f"The journal cannot be written: {error_text(error)}. Nothing was changed.", step="prepare"
            ) from error
        self.checkpoint("journal")

    def _transact(self) -> None:
        """Do all steps up to the commit; any exception leads to the way back."""
        self.report.step = "files"
        self._restore_foreign_files()
        self.journal.write(self.options.env_file)
        self.checkpoint("files")
        waits = self.trial.run(before_command=self.release_command.is_to_run())
        self.release_command.run()
        if waits:
            self.trial.run()
        self.report.step = "roll"
        self.roll.roll()
        if self.survey.reconfigure:
            self.report.step = "reconfigure"
            self.roll.replace_program()
        self.report.step = "programs"
        self.programs.bring(self.survey.wanted)
        self.report.step = "verify"
        self.journal.save(step="verify")
        self.checkpoint("rolled")
        self._verify()
        self.report.step = "commit"
        self.journal.save(step="commit", committed_at=now(), rollback=not self.options.retry_failed)

    def _restore_foreign_files(self) -> None:
        """Undo the files of an interrupted run that this run does not write itself."""
        conf, env = self.options.program_conf, self.options.env_file
        files = (conf, env, *self.options.socket_units, *self.programs.files.values())
        own = {file.path for file in files if file is not None and file.managed()}
        kept = []
        for entry in self.journal.entries["files"]:
            if entry["path"] in own:
                kept.append(entry)
                continue
            put_back(entry)
            if conf is not None and os.path.dirname(conf.path) == os.path.dirname(entry["path"]):
                self.survey.inspect_again()
        self.survey.reconfigure = self.survey.reconfigure or not self.instances.socket.settled()
        self.journal.save(files=kept)

    def _verify(self) -> None:
        """Check every instance, the public address and every program, as callers will find them."""
        instances, wanted = self.instances, self.survey.wanted
        serving = [process for process in instances.now() if process.number < instances.count]
        if not serving:
            raise StepFailure("supervisord runs no instance of the app")
        for process in serving:
            instances.gate.wait(process.full_name, wanted, process.pid, VERIFY_TIMEOUT)
            if process.name not in self.report.accounts:
                self.report.account(process, "kept", wanted)
        for text in sorted({stock_worker(instances.run_dir.record(process.name)) for process in serving} - {""}):
            self.warn(f"{self.options.name}: {text}")
        instances.gate.wait_for_public_address(wanted)
        self.programs.verify(wanted)

    # -- commit ------------------------------------------------------------------------------------------------------

    def _finish_commit(self) -> None:
        """Commit the verified release."""
        try:
            self._commit()
        except OSError as error:
            raise ActivationError(
                f"Release {self.survey.wanted} of {self.options.name} passed its gate and serves, but this cannot be"
                f" recorded: {error_text(error)}. Remove the cause, then run this again: the next run continues from here.",
                step="commit",
            ) from error

    def _commit(self) -> None:
        """Move `current`, record the activation, remove candidate links and old bytes. Each step may be repeated."""
        entries, store = self.journal.entries, self.store
        store.set_current(entries["release"])
        self.checkpoint("current")
        last = store.history()[-1:]
        if entries["release"] != entries["baseline"] and not (
            last and last[0].get("journal") == entries["committed_at"]
        ):
            store.record_activation(
                entries["release"],
                entries["baseline"],
                entries["by"],
                rollback=bool(entries.get("rollback")),
                journal=entries["committed_at"],
                rollout=entries.get("rollout", ""),
            )
        self.checkpoint("state")
        self.instances.remove_candidates()
        self.checkpoint("links")
        for file in entries["files"]:
            if file["aside"]:
                remove_file(file["aside"])
        self.journal.close()
        self.checkpoint("committed")

    def _prune(self) -> None:
        """Remove old releases; keep what runs."""
        try:
            processes = [*self.instances.now(), *self.programs.now()]
            running = [self.instances.run_dir.record(process.name).get("release") for process in processes]
            releases = [self.survey.baseline, self.survey.wanted, *running]
            protect = [release for release in releases if isinstance(release, str)]
            self.store.prune(self.options.keep, protect, self.warn)
            Environments(self.store.root).prune()
        except (OSError, SupervisorError) as error:
            self.warn(f"Old releases could not be removed: {error_text(error)}.")
