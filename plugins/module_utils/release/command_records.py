# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which release commands have begun and ended on this app's data, as state.json remembers it."""

from __future__ import annotations

import typing as t

from ..host.atomic import now
from .store import HISTORY_LENGTH, ReleaseStore

BEGAN, DONE, FAILED, INTERRUPTED = "began", "done", "failed", "interrupted"


class CommandRecords:
    """For each release the last run of its command: {"at", "command", "result", "host"}; ``host`` is empty for this one.

    "unchanged" is true if the state of the data was the same before and after it. A run that finds done what an earlier run for the
    same release has done keeps the time of that one: the data have changed, then.

    A rollback needs them also when the release is gone from the host, so pruning does not touch them. The newest stay.
    """

    def __init__(self, store: ReleaseStore) -> None:
        self.store = store

    def all(self) -> dict[str, dict[str, t.Any]]:
        """The records by release."""
        return self.store.state()["commands"]

    def note(
        self,
        release: str,
        command: str,
        result: str,
        host: str = "",
        changed: bool = True,
        former: dict[str, t.Any] | None = None,
    ) -> None:
        """Record the state of a release's command.

        :param former: the record of the release before this run
        """
        record = {"at": now(), "command": command, "result": result, "host": host}
        if not changed and former and not former.get("unchanged"):
            record["at"] = former.get("at") or record["at"]
        elif not changed:
            record["unchanged"] = True
        records = {**self.all(), release: record}
        newest = sorted(records, key=lambda one: records[one].get("at") or "")[-HISTORY_LENGTH:]
        self.store.save_commands({one: records[one] for one in newest})

    def is_done(self, release: str, command: str) -> bool:
        """Whether this command has run for the release, to its end."""
        record = self.all().get(release, {})
        return record.get("result") == DONE and record.get("command") == command

    def interrupted(self) -> dict[str, dict[str, str]]:
        """Records of runs that ended with the command still running."""
        return {release: record for release, record in self.all().items() if record.get("result") == BEGAN}

    def crossed(self, target: str) -> dict[str, dict[str, t.Any]]:
        """Records that are newer than the last time that ``target`` was put into service, the newest first.

        Its code does not know the changes of these commands. Commands that failed do not count.
        """
        since = self._since(target)
        found = {
            release: record
            for release, record in self.all().items()
            if release != target and record.get("result") != FAILED and not record.get("unchanged")
            if (record.get("at") or "") > since
        }
        return dict(sorted(found.items(), key=lambda pair: pair[1]["at"], reverse=True))

    def may_have_changed_since(self, record: dict[str, t.Any] | None, target: str | None) -> bool:
        """Whether a record is of a run that may have changed data since ``target`` was put into service."""
        return bool(record) and not record.get("unchanged") and (record.get("at") or "") > self._since(target)

    def _since(self, target: str | None) -> str:
        activated = [entry.get("at") or "" for entry in self.store.history() if entry.get("release") == target]
        return activated[-1] if activated else ""
