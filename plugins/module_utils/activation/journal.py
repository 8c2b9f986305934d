# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The journal of an open transaction: what the host was like before, and how far the transaction came."""

from __future__ import annotations

import json
import os
import typing as t

from ..host.atomic import remove_file, sync_directory, write_atomically
from .errors import ActivationError


def parse_entries(text: str) -> dict[str, t.Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


class Journal:
    """What the host was like before the open transaction, and how far that came."""

    def __init__(self, path: str, entries: dict[str, t.Any]) -> None:
        self.path = path
        self.entries = entries

    @classmethod
    def load(cls, path: str) -> Journal | None:
        """The journal that an interrupted run left, or None."""
        try:
            with open(path, encoding="utf-8") as stream:
                entries = parse_entries(stream.read())
        except FileNotFoundError:
            return None
        if entries.get("version") != 1:
            raise ActivationError(
                f"{path} is the journal of an interrupted activation, but cannot be understood. Nothing was changed."
                " Look at what runs (supervisorctl status), remove the file, and run this again.",
                step="recover",
            )
        return cls(path, entries)

    def save(self, **changes: t.Any) -> None:
        """Write the journal, durably; what follows may be interrupted at any point."""
        self.entries.update(changes)
        write_atomically(self.path, json.dumps(self.entries, indent=2, sort_keys=True).encode("utf-8"), 0o600)

    def close(self) -> None:
        """End the transaction."""
        if remove_file(self.path):
            sync_directory(os.path.dirname(self.path))
