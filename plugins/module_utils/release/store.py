# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The releases of one app on this host, and their history.

``<root>/releases/<id>/`` holds one release; it is complete once it has a ``release.json``.
``<root>/current`` links to the release that passed its gate last.
``<root>/state.json`` remembers the previous release, the failed ones and the history.

Only `activate` moves ``current``; the caller holds the app's lock while it writes.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import typing as t

from ..host import foreign
from ..host.atomic import (
    now,
    put_back,
    remove_file,
    remove_tree,
    sync_directory,
    timestamp,
    write_atomically,
    write_link,
)
from ..host.in_use import in_use
from ..virtual_env import made_from, usable
from . import package_lock, record
from .package_lock import PackageLock

ID_PATTERN = re.compile(r"[0-9a-f]{16}")
HISTORY_LENGTH = 20
#: Files of a release that each start of an instance needs.
_NEEDED = ("pygun.py", "lib/pygun_runtime/launch.py")
#: Bytes of a state.json.
_LARGEST_STATE = 4 * 1024 * 1024


class ReleaseStore:
    """The releases under ``root`` (normally ``/srv/<app>``)."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.releases = os.path.join(root, "releases")
        self.link = os.path.join(root, "current")
        self.state_file = os.path.join(root, "state.json")

    # -- releases ------------------------------------------------------------------------------------------------

    def path(self, release: str) -> str:
        """The folder of a release, whether or not it exists."""
        if not ID_PATTERN.fullmatch(release):
            raise ValueError(f"{release!r} is not a release id: it must be 16 hexadecimal digits")
        return os.path.join(self.releases, release)

    def metadata(self, release: str) -> dict[str, t.Any]:
        """The contents of release.json; empty if the release is missing or half-built."""
        return record.metadata(self.path(release))

    def service(self, release: str) -> record.Service:
        """The service of a release."""
        return record.service_of(self.path(release))

    def lock(self, release: str) -> PackageLock | None:
        """The packages of a release; None for one of an older version, which has no lock."""
        return PackageLock.read(os.path.join(self.path(release), package_lock.FILE))

    def is_complete(self, release: str) -> bool:
        """Whether the release was built to its end (release.json is written last)."""
        return os.path.isfile(os.path.join(self.path(release), "release.json"))

    def damage(self, release: str) -> str:
        """Why a complete release cannot start, as the end of a sentence about it; empty if it can."""
        folder = self.path(release)
        venv = os.path.join(folder, "venv")
        if not self.metadata(release):
            return "has a damaged release.json"
        for name in _NEEDED:
            if not os.path.isfile(os.path.join(folder, name)):
                return f"has lost its {name}"
        if not os.path.isdir(venv):
            return "has lost its virtual environment"
        if not usable(venv):
            return f"was built for Python {made_from(venv) or '?'}, which this host does not have any more"
        return ""

    def ids(self) -> list[str]:
        """The complete releases, the one last built or activated first."""
        return sorted((name for name in self._folders() if self.is_complete(name)), key=self._age_key, reverse=True)

    def named(self, text: str) -> list[str]:
        """The releases that a person means: one by its id, or the complete ones whose ids begin so."""
        if ID_PATTERN.fullmatch(text) or not re.fullmatch(r"[0-9a-f]{4,15}", text):
            return [text]
        return [release for release in self.ids() if release.startswith(text)]

    def half_built(self) -> list[str]:
        """Releases without a release.json: being built now, or left by a run that was killed."""
        return sorted(name for name in self._folders() if not self.is_complete(name))

    def recover(self) -> None:
        """Tidy up after a build that was killed: releases that it was replacing come back, half-built ones go."""
        for name in self._names():
            release, _dot, role = name.partition(".")
            if ID_PATTERN.fullmatch(release) and role in ("before", "old"):
                put_back(self.path(release))
        for release in self.half_built():
            self.remove(release)

    def remove(self, release: str) -> None:
        """Remove a release; it stops being complete first, so a kill in between leaves a half-built one."""
        folder = self.path(release)
        if remove_file(os.path.join(folder, "release.json")):
            sync_directory(folder)
        remove_tree(folder)

    def _names(self) -> list[str]:
        try:
            return os.listdir(self.releases)
        except FileNotFoundError:
            return []

    def _folders(self) -> list[str]:
        return [
            name
            for name in self._names()
            if ID_PATTERN.fullmatch(name) and not os.path.islink(os.path.join(self.releases, name))
        ]

    def _age_key(self, release: str) -> tuple[str, str]:
        activated = [entry["at"] for entry in self.history() if entry.get("release") == release and "at" in entry]
        return max([self._built_at(release), *activated]), release

    def _built_at(self, release: str) -> str:
        built = self.metadata(release).get("built_at")
        if isinstance(built, str):
            return built
        try:
            seconds = os.stat(os.path.join(self.path(release), "release.json")).st_mtime
        except FileNotFoundError:  # a deploy has just removed it
            return ""
        return timestamp(datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc))

    # -- current -------------------------------------------------------------------------------------------------

    def current(self) -> str | None:
        """The id that ``current`` links to, or None."""
        try:
            name = os.path.basename(os.readlink(self.link))
        except OSError:
            return None
        return name if ID_PATTERN.fullmatch(name) else None

    def remembered(self) -> str | None:
        """The complete release that `current` linked to last, as the history has it."""
        last = self.history()[-1:]
        release = last[0].get("release", "") if last else ""
        return release if ID_PATTERN.fullmatch(release or "") and self.is_complete(release) else None

    def set_current(self, release: str) -> None:
        """Switch ``current`` in one rename. A relative link, so that a copy of the tree stays usable."""
        self.path(release)
        write_link(self.link, os.path.join("releases", release))

    def clear_current(self) -> None:
        """Take ``current`` away: after a first install that failed, nothing is current."""
        if remove_file(self.link):
            sync_directory(self.root)

    # -- state ---------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, t.Any]:
        """state.json with every key present, and as much of it as can be understood."""
        return self._read_state()[0]

    def damage_of_state(self) -> str:
        """The damage of state.json, as the end of a sentence about it; empty if there is none."""
        return self._read_state()[1]

    def mend_state(self) -> None:
        """Write as much of state.json as can be understood."""
        self._write_state(self.state())

    def _read_state(self) -> tuple[dict[str, t.Any], str]:
        try:
            found, damage = foreign.mapping(self.state_file, _LARGEST_STATE), ""
        except (OSError, foreign.Unreadable) as error:
            found, damage = {}, str(error)
        previous, failed, history = found.get("previous"), found.get("failed") or {}, found.get("history") or []
        commands = found.get("commands") or {}
        state = {
            "previous": previous if isinstance(previous, str) else None,
            "failed": _entries_of_releases(failed),
            "history": [entry for entry in history if _is_entry(entry)] if isinstance(history, list) else [],
            "commands": _entries_of_releases(commands),
        }
        if found and (previous, failed, history, commands) != tuple(state.values()):
            damage = "has entries that cannot be understood"
        return state, damage

    def _write_state(self, state: dict[str, t.Any]) -> None:
        text = json.dumps(state, indent=2, sort_keys=True) + "\n"
        write_atomically(self.state_file, text.encode("utf-8"), 0o644)

    def previous(self) -> str | None:
        """The release a rollback goes to: complete, not failed, not the current one; None if there is none."""
        state = self.state()
        found = state["previous"]
        if not isinstance(found, str) or not ID_PATTERN.fullmatch(found):
            return None
        if found in state["failed"] or found == self.current() or not self.is_complete(found):
            return None
        return found

    def failed(self) -> dict[str, dict[str, str]]:
        """The releases that failed their gate: id -> {"at", "step", "message"}."""
        return self.state()["failed"]

    def history(self) -> list[dict[str, t.Any]]:
        """The last activations, the oldest first."""
        return self.state()["history"]

    def record_activation(
        self,
        release: str,
        replaced: str | None,
        by: str,
        rollback: bool = False,
        journal: str = "",
        rollout: str = "",
    ) -> None:
        """Remember that ``release`` took the place of ``replaced``; ``journal`` identifies the transaction.

        ``rollout`` is the same on all hosts that one run of a playbook deployed to.

        After a rollback the previous release is the one before the release gone back to, not the one just left:
        running the rollback twice must not bring the bad release back.
        """
        state = self.state()
        previous = state["previous"]
        if replaced is not None and replaced != release:
            previous = replaced
            if rollback:
                earlier = [entry for entry in state["history"] if entry.get("release") == release]
                previous = earlier[-1].get("previous") if earlier else None
        state["failed"].pop(release, None)
        state["previous"] = previous
        entry = {"release": release, "at": now(), "by": by, "from": replaced, "previous": previous}
        if rollback:
            entry["rollback"] = True
        if journal:
            entry["journal"] = journal
        if rollout:
            entry["rollout"] = rollout
        state["history"] = [*state["history"], entry][-HISTORY_LENGTH:]
        self._write_state(state)

    def mark_failed(self, release: str, step: str, message: str) -> None:
        """Remember that the release failed its gate; a rollback never chooses it."""
        self.path(release)
        state = self.state()
        state["failed"][release] = {"at": now(), "step": step, "message": message}
        self._write_state(state)

    def save_commands(self, records: dict[str, dict[str, str]]) -> None:
        """Remember which release commands have run; `command_records.py` reads and writes them."""
        self._write_state({**self.state(), "commands": records})

    def forget_failure(self, release: str) -> bool:
        """Give a failed release another chance; say whether it was marked."""
        state = self.state()
        if state["failed"].pop(release, None) is None:
            return False
        self._write_state(state)
        return True

    # -- pruning -------------------------------------------------------------------------------------------------

    def prune(
        self, keep: int, protect: t.Iterable[str] = (), warn: t.Callable[[str], None] = lambda text: None
    ) -> list[str]:
        """Remove old releases and return their ids.

        Kept are the current one, the previous one, those in ``protect``, the ``keep`` newest good ones (the first
        two count) and the newest failed one, to reproduce its failure. Half-built ones, and those built within the
        last hour and never activated, are left alone: another deploy may be about to use them. So are those that any
        process of the host runs from; ``warn`` gets a text for each of these.
        """
        state = self.state()
        standing = self.ids()
        good = [name for name in standing if name not in state["failed"]]
        bad = [name for name in standing if name in state["failed"]]
        tried = {entry.get("release") for entry in state["history"]}
        young = timestamp(datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1))
        kept = {name for name in (self.current(), self.previous(), *protect, *bad[:1]) if name}
        for name in good:
            if len(kept.intersection(good)) >= keep:
                break
            kept.add(name)
        kept.update(name for name in good if name not in tried and self._built_at(name) > young)
        removed = self._unused([name for name in standing if name not in kept], warn)
        for name in removed:
            self.remove(name)
        gone = [name for name in state["failed"] if not self.is_complete(name)]
        if gone:
            for name in gone:
                del state["failed"][name]
            self._write_state(state)
        return removed

    def _unused(self, releases: list[str], warn: t.Callable[[str], None]) -> list[str]:
        """The releases that no process of the host runs from."""
        users = in_use([self.path(name) for name in releases]) if releases else {}
        for path, process in users.items():
            warn(
                f"{path} is an old release and was kept: {process} runs from it. Once that process has ended, the next deploy removes it."
            )
        return [name for name in releases if self.path(name) not in users]


def _is_entry(found: t.Any) -> bool:
    """Whether this is an object of texts, as state.json holds for an activation and for a failure."""
    if not isinstance(found, dict) or not all(isinstance(found.get(name, ""), str) for name in ("release", "at")):
        return False
    return all(isinstance(value, (str, bool, type(None))) for value in found.values())


def _entries_of_releases(found: t.Any) -> dict[str, dict[str, t.Any]]:
    """The entries that can be read, by release."""
    return {
        release: entry
        for release, entry in (found.items() if isinstance(found, dict) else ())
        if ID_PATTERN.fullmatch(release) and _is_entry(entry)
    }
