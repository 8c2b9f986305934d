# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Let one host of a rollout do something for all: the first one does it, and the others wait for its outcome."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from ansible import constants

from .pack import Shared


class Once:
    """A folder of this run of the playbook, where the hosts of a rollout meet; Ansible works on each in a process of its own.

    The first holds its lock while it works, so it does not matter in which order hosts come, how many work at the same time, or
    whether the play has batches.
    """

    def __init__(self, name: str, rollout: str) -> None:
        key = hashlib.sha256(json.dumps([name, rollout]).encode()).hexdigest()[:16]
        self._shared = Shared(Path(constants.DEFAULT_LOCAL_TMP, f"pygun-once-{key}"))
        self._file = self._shared.folder / "outcome.json"

    def note(self, host: str, failed: bool, changed: bool = True) -> None:
        """Tell the other hosts how it went."""
        self._file.write_text(json.dumps({"host": host, "failed": failed, "changed": changed}), encoding="utf-8")

    def outcome(self) -> dict:
        """The host that has done it, and whether it failed; empty if none has."""
        try:
            return json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}

    @contextlib.contextmanager
    def turn(self, host: str) -> Iterator[dict]:
        """Wait for the turn of this host. It gets the outcome of the first; if that is empty, it is the first, and notes its own within.

        A first host that notes nothing has failed.
        """
        with self._shared.alone():
            outcome = self.outcome()
            if not outcome:
                try:
                    yield outcome
                finally:
                    if not self.outcome():
                        self.note(host, failed=True)
        if outcome:  # the others need not wait for one another
            yield outcome

    def is_first_to(self, name: str) -> bool:
        """Whether no other host of the run has asked this."""
        return self._shared.is_first_to(name)
