# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The trial of a new release in an activation, and the shared paths that it needs."""

from __future__ import annotations

import os
import typing as t

from ..diagnosis.symptoms import diagnose
from ..host.inspection import memory_of_host
from ..release.fit import misfits
from ..release.shared_paths import SharedPathError, provide
from ..release.store import ReleaseStore
from ..release.trial import Outcome, too_many_workers, try_release, warnings_of
from .errors import StepFailure
from .instances import Instances
from .journal import Journal
from .report import Report
from .survey import Survey


class Trial:
    """Finds out whether the wanted release could serve."""

    def __init__(
        self,
        store: ReleaseStore,
        journal: Journal,
        instances: Instances,
        survey: Survey,
        report: Report,
        warn: t.Callable[[str], None],
    ) -> None:
        self.options = instances.options
        self.store = store
        self.journal = journal
        self.instances = instances
        self.survey = survey
        self.report = report
        self.warn = warn

    def run(self, before_command: bool = False) -> bool:
        """Try a release that does not serve yet, before anything that serves is touched.

        :param before_command: whether the release command is still to run, which the health check may need: a table, say
        :returns: whether it has to be tried again after that
        """
        self._provide_shared_paths()
        options, wanted = self.options, self.survey.wanted
        user = self.instances.program.user()
        if not options.preflight or not user or wanted == self.survey.baseline:
            return False
        self.report.step = "preflight"
        self.journal.save(step="preflight")
        self.journal.checkpoint("preflight")
        home = os.path.join(options.root, "shared")
        environment = self.instances.environment()
        outcome = try_release(
            self.store.path(wanted), user, home, self.store.service(wanted).boot_timeout, environment=environment
        )
        if outcome.problem and before_command and self._may_need_command(outcome):
            return True
        if outcome.problem:
            raise StepFailure(
                f"tried without serving, at its step {outcome.step!r}: {outcome.problem}",
                log_file="that try",
                log=outcome.output,
                blames_release=True,
            )
        for text in warnings_of(outcome.facts):
            self.warn(text)
        instances = self.instances.program.wanted().instances or 1
        self.report.misfits = misfits(outcome.facts, instances)
        for misfit in self.report.misfits:
            self.warn(misfit["text"])
        crowd = too_many_workers(outcome.facts, instances, memory_of_host("MemTotal"))
        if crowd:
            self.warn(crowd)
        return False

    def _may_need_command(self, outcome: Outcome) -> bool:
        """Whether what the release command makes can be what is missing: some apps read a table, or a file, as they are imported."""
        if outcome.step not in ("import", "dirty workers"):
            return outcome.step == "health"
        known = diagnose(f"{outcome.output}\n{outcome.problem}")
        code = known.code if known else "app-error"
        return code == "table-missing" or (not self.survey.baseline and code in ("file-missing", "app-error"))

    def _provide_shared_paths(self) -> None:
        try:
            provide(self.store.path(self.survey.wanted))
        except (SharedPathError, OSError) as error:
            raise StepFailure(str(error)) from error
