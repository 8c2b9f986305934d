# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The trial of a new release in an activation, and the shared paths that it needs."""

from __future__ import annotations

import os
import re
import shlex
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

_PATH = re.compile(r"[\w.@+-]*(?:/[\w.@+-]+)+")
_PATHS_AT_MOST = 100


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

        :param before_command: whether the release command is still to run, which may make what the release needs, such as a table
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
        waits = ""
        if outcome.problem and before_command and self._may_need_command(outcome):
            if outcome.step == "health" or not self.survey.baseline:
                return True
            waits = self._why_not_first()
        if outcome.problem:
            raise StepFailure(
                f"tried without serving, at its step {outcome.step!r}: {outcome.problem}{waits}",
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
        """Whether the release command can make what is missing: some apps read a table, or a file that is made for them, as they are imported."""
        if outcome.step not in ("import", "dirty workers"):
            return outcome.step == "health"
        text = f"{outcome.output}\n{outcome.problem}"
        known = diagnose(text)
        code = known.code if known else "app-error"
        return code == "table-missing" or (code in ("file-missing", "app-error") and self._names_missing_file(text))

    def _names_missing_file(self, text: str) -> bool:
        """Whether a text names a path below the app's shared directory that is not there."""
        source, shared = (
            os.path.join(self.store.path(self.survey.wanted), "src"),
            os.path.join(self.options.root, "shared"),
        )
        paths = {through_links(source, name) for name in _PATH.findall(text)[-_PATHS_AT_MOST:]}
        return any(path.startswith(f"{shared}/") and not os.path.lexists(path) for path in paths)

    def _why_not_first(self) -> str:
        run, user = os.path.join(self.store.path(self.survey.wanted), "run"), self.instances.program.user()
        command = shlex.join(self.options.release_command[0])
        return (
            f". The release command has not run: release {self.survey.baseline} serves, so it runs only for a release that can be imported."
            f" If what it changes does no harm to that one, run it by hand and deploy again: sudo -u {user} {run} {command}"
        )

    def _provide_shared_paths(self) -> None:
        try:
            provide(self.store.path(self.survey.wanted))
        except (SharedPathError, OSError) as error:
            raise StepFailure(str(error)) from error


def through_links(source: str, name: str) -> str:
    """A path as the app means it, from the directory of its source, through a link to a shared path."""
    path = os.path.normpath(os.path.join(source, name))
    parts = os.path.relpath(path, source).split("/")
    for number in range(1, len(parts) + 1):
        link = os.path.join(source, *parts[:number])
        if path.startswith(f"{source}/") and os.path.islink(link):
            return os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link), *parts[number:]))
    return path
