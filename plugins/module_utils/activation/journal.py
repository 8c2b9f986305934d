# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The journal of an open transaction: what the host was like before, and how far the transaction came."""

from __future__ import annotations

import grp
import json
import os
import typing as t

from ..host.atomic import remove_file, sync_directory, write_atomically
from .errors import ActivationError, StepFailure
from .files import ManagedFile, set_aside


class Journal:
    """What the host was like before the open transaction, and how far that came.

    :param root: the app's directory, which holds the file
    :param checkpoint: called after each step with the name of what has just become true
    """

    def __init__(self, root: str, checkpoint: t.Callable[[str], None] = lambda name: None) -> None:
        self.path = os.path.join(root, "activation.json")
        self.checkpoint = checkpoint
        self.entries: dict[str, t.Any] = {}

    @property
    def is_open(self) -> bool:
        """Whether a transaction has begun and not ended."""
        return bool(self.entries)

    def load(self) -> bool:
        """Take over the entries that an interrupted run left; return whether there are any."""
        try:
            with open(self.path, encoding="utf-8") as stream:
                entries = _parse(stream.read())
        except FileNotFoundError:
            return False
        if entries.get("version") != 1:
            raise ActivationError(
                f"{self.path} is the journal of an interrupted activation, but cannot be understood. Nothing was changed."
                " Look at what runs (supervisorctl status), remove the file, and run this again.",
                step="recover",
            )
        self.entries = entries
        return True

    def begin(self, baseline: str | None, had_program: bool, stopped: list[str]) -> None:
        """Begin a transaction; the first `save` makes it durable.

        :param stopped: names of the instances that an operator has stopped
        """
        self.entries = {
            "version": 1,
            "baseline": baseline,
            "files": [],
            "rolled": [],
            "reconfigured": False,
            "had_program": had_program,
            "stopped": stopped,
        }

    def save(self, **changes: t.Any) -> None:
        """Write the journal, durably; what follows may be interrupted at any point."""
        self.entries.update(changes)
        write_atomically(self.path, json.dumps(self.entries, indent=2, sort_keys=True).encode("utf-8"), 0o600)

    def write(self, file: ManagedFile | None) -> None:
        """Write or remove a file, and keep the old bytes beside it until the transaction ends."""
        if file is None or not file.differs():
            return
        others = [entry for entry in self.entries["files"] if entry["path"] != file.path]
        known = [entry for entry in self.entries["files"] if entry["path"] == file.path]
        if not known or (known[0]["aside"] and not os.path.exists(known[0]["aside"])):
            self.save(files=[*others, set_aside(file.path)])
            self.checkpoint(f"set aside {os.path.basename(file.path)}")
        if file.content is None:
            remove_file(file.path)
            return
        root = os.geteuid() == 0
        try:
            gid = grp.getgrnam(file.group).gr_gid if file.group else 0 if root else -1
        except KeyError:
            raise StepFailure(f"the group {file.group} of {file.path} does not exist") from None
        write_atomically(file.path, file.content, file.mode, 0 if root else -1, gid)

    def close(self) -> None:
        """End the transaction."""
        if remove_file(self.path):
            sync_directory(os.path.dirname(self.path))
        self.entries = {}


def _parse(text: str) -> dict[str, t.Any]:
    """The entries in the text of a journal; empty if it is not a JSON object."""
    try:
        entries = json.loads(text)
    except ValueError:
        return {}
    return entries if isinstance(entries, dict) else {}
