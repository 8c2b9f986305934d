# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The journal of an open transaction: the state of the host before it, and the step that it has reached."""

from __future__ import annotations

import grp
import json
import os
import typing as t

from ..host import foreign
from ..host.atomic import remove_file, sync_directory, write_atomically
from ..release.store import ID_PATTERN
from .errors import ActivationError, StepFailure
from .files import ManagedFile, set_aside

#: Bytes of a journal.
_LARGEST = 1024 * 1024


class Journal:
    """The state of the host before the open transaction, and the step that it has reached.

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
        if not os.path.lexists(self.path):
            return False
        try:
            entries = foreign.mapping(self.path, _LARGEST)
            damage = ", ".join(_wrong(entries))
        except foreign.Unreadable as error:
            entries, damage = {}, str(error)
        if damage:
            raise ActivationError(
                f"{self.path} is the journal of an interrupted activation, but cannot be understood (it {damage}). Nothing was"
                " changed. Look at what runs (supervisorctl status) and at the files *.before beside those of the app, remove the"
                " journal, and run this again.",
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
            "programs": [],
        }

    def save(self, **changes: t.Any) -> None:
        """Write the journal durably. Every later step may then be interrupted."""
        self.entries.update(changes)
        write_atomically(self.path, json.dumps(self.entries, indent=2, sort_keys=True).encode("utf-8"), 0o600)

    def write(self, file: ManagedFile | None) -> None:
        """Write or remove a file, and keep the old bytes next to it until the transaction ends."""
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


def _wrong(entries: dict[str, t.Any]) -> t.Iterator[str]:
    """Yield each error that keeps another run from taking over this journal."""
    if entries.get("version") != 1:
        yield "is of an unknown version"
        return
    needed = {**_FIELDS, **(_FIELDS_OF_COMMIT if entries.get("step") == "commit" else {})}
    for name, fits in needed.items():
        if name not in entries:
            yield f"lacks {name}"
        elif not fits(entries[name]):
            yield f"has an odd {name}"
    if not _are_texts(entries.get("programs", [])):  # an older version writes none
        yield "has an odd programs"


def _is_id(value: t.Any) -> bool:
    return isinstance(value, str) and ID_PATTERN.fullmatch(value) is not None


def _is_text(value: t.Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: t.Any) -> bool:
    return isinstance(value, bool)


def _are_texts(value: t.Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_files(value: t.Any) -> bool:
    return isinstance(value, list) and all(map(_is_file, value))


def _is_file(value: t.Any) -> bool:
    """Whether an entry has all that `put_back` needs."""
    if not isinstance(value, dict) or not _is_path(value.get("path")):
        return False
    if value.get("aside", "") is None:
        return True
    numbers = (value.get(name) for name in ("mode", "uid", "gid"))
    return _is_path(value.get("aside")) and all(isinstance(number, int) for number in numbers)


def _is_path(value: t.Any) -> bool:
    return isinstance(value, str) and os.path.isabs(value) and "\0" not in value


_FIELDS: dict[str, t.Callable[[t.Any], bool]] = {
    "step": _is_text,
    "release": _is_id,
    "baseline": lambda value: value is None or _is_id(value),
    "files": _are_files,
    "rolled": _are_texts,
    "reconfigured": _is_flag,
    "had_program": _is_flag,
    "stopped": _are_texts,
}
_FIELDS_OF_COMMIT: dict[str, t.Callable[[t.Any], bool]] = {"by": _is_text, "committed_at": _is_text}
