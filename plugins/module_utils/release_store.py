# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The releases of one app on this host, and what is remembered about them.

``<root>/releases/<id>/`` holds one release; it is complete once it has a ``release.json``.
``<root>/current`` links to the release that passed its gate last.
``<root>/state.json`` remembers the previous release, the failed ones and the history.

Only `activate` moves ``current``; the caller holds the app's lock while it writes.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import shutil
import subprocess
import typing as t

ID_PATTERN = re.compile(r"[0-9a-f]{16}")
HISTORY_LENGTH = 20


def now() -> str:
    """This moment as every file of the collection writes it: ISO 8601, UTC, to the microsecond (it orders as text)."""
    return _text(datetime.datetime.now(datetime.timezone.utc))


def _text(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def sync_directory(path: str) -> None:
    """Make a rename or unlink in this directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: str, content: bytes, mode: int, uid: int = -1, gid: int = -1) -> None:
    """Replace a file in one rename; a reader sees the old or the new bytes, never a mixture.

    The new bytes are never readable by more people than ``mode`` allows, not even for a moment.
    """
    temporary = f"{path}.{os.getpid()}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            if uid != -1 or gid != -1:
                os.fchown(stream.fileno(), uid, gid)
            os.fchmod(stream.fileno(), mode)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, path)
    except BaseException:
        remove_file(temporary)
        raise
    sync_directory(os.path.dirname(path))


def write_link(path: str, target: str) -> None:
    """Point a symbolic link somewhere else in one rename."""
    temporary = f"{path}.{os.getpid()}.tmp"
    remove_file(temporary)
    os.symlink(target, temporary)
    os.rename(temporary, path)
    sync_directory(os.path.dirname(path))


def remove_file(path: str) -> bool:
    """Remove a file or link; say whether there was one."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def remove_tree(path: str, ignore_errors: bool = False) -> None:
    """Remove a folder with all that is in it, however deep somebody has nested it; nothing if there is none."""
    if os.path.islink(path):
        os.unlink(path)
    if not os.path.lexists(path):
        return
    try:
        shutil.rmtree(path)
    except (OSError, RecursionError) as error:  # rm knows no depth that is too much for it
        subprocess.run(["rm", "-rf", "--one-file-system", "--", path], check=False, stderr=subprocess.DEVNULL)  # pylint: disable=ansible-bad-function
        if os.path.lexists(path) and not ignore_errors:
            raise OSError(f"{path} cannot be removed: {error}") from error


@contextlib.contextmanager
def kept_aside(path: str) -> t.Iterator[None]:
    """Make a directory anew in its place. What stood there comes back if that fails, by `put_back` after a kill too."""
    aside, old = f"{path}.before", f"{path}.old"
    put_back(path)
    if os.path.isdir(path):
        os.rename(path, aside)
    try:
        yield
    except BaseException:
        remove_tree(path, ignore_errors=True)
        put_back(path)
        raise
    if os.path.isdir(aside):
        os.rename(aside, old)
        remove_tree(old, ignore_errors=True)


def put_back(path: str) -> None:
    """Undo a `kept_aside` that was killed: what it had set aside is whole, what it was making is not."""
    aside = f"{path}.before"
    if os.path.isdir(aside):
        remove_tree(path, ignore_errors=True)
        os.rename(aside, path)
    remove_tree(f"{path}.old", ignore_errors=True)


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
        """What release.json says; empty if the release is missing or half-built."""
        try:
            with open(os.path.join(self.path(release), "release.json"), encoding="utf-8") as stream:
                found = json.load(stream)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def is_complete(self, release: str) -> bool:
        """Whether the release was built to its end (release.json is written last)."""
        return os.path.isfile(os.path.join(self.path(release), "release.json"))

    def ids(self) -> list[str]:
        """The complete releases, the one last built or activated first."""
        return sorted((name for name in self._folders() if self.is_complete(name)), key=self._age_key, reverse=True)

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
        seconds = os.stat(os.path.join(self.path(release), "release.json")).st_mtime
        return _text(datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc))

    # -- current -------------------------------------------------------------------------------------------------

    def current(self) -> str | None:
        """The id that ``current`` links to, or None."""
        try:
            name = os.path.basename(os.readlink(self.link))
        except OSError:
            return None
        return name if ID_PATTERN.fullmatch(name) else None

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
        """state.json with every key present. A missing or damaged file is an empty memory, not an error."""
        try:
            with open(self.state_file, encoding="utf-8") as stream:
                found = json.load(stream)
        except (OSError, ValueError):
            found = {}
        if not isinstance(found, dict):
            found = {}
        return {
            "previous": found.get("previous"),
            "failed": dict(found.get("failed") or {}),
            "history": list(found.get("history") or []),
        }

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
        return [entry for entry in self.state()["history"] if isinstance(entry, dict)]

    def record_activation(
        self,
        release: str,
        replaced: str | None,
        by: str,
        rollback: bool = False,
        journal: str = "",
        rollout: str = "",
    ) -> None:
        """Remember that ``release`` took the place of ``replaced``; ``journal`` tells one transaction from another.

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

    def forget_failure(self, release: str) -> bool:
        """Give a failed release another chance; say whether it was marked."""
        state = self.state()
        if state["failed"].pop(release, None) is None:
            return False
        self._write_state(state)
        return True

    # -- pruning -------------------------------------------------------------------------------------------------

    def prune(self, keep: int, protect: t.Iterable[str] = ()) -> list[str]:
        """Remove old releases and return their ids.

        Kept are the current one, the previous one, those in ``protect``, the ``keep`` newest good ones (the first
        two count) and the newest failed one, to reproduce its failure. Half-built ones, and those built within the
        last hour and never activated, are left alone: another deploy may be about to use them.
        """
        state = self.state()
        standing = self.ids()
        good = [name for name in standing if name not in state["failed"]]
        bad = [name for name in standing if name in state["failed"]]
        tried = {entry.get("release") for entry in state["history"]}
        young = _text(datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1))
        kept = {name for name in (self.current(), self.previous(), *protect, *bad[:1]) if name}
        for name in good:
            if len(kept.intersection(good)) >= keep:
                break
            kept.add(name)
        kept.update(name for name in good if name not in tried and self._built_at(name) > young)
        removed = [name for name in standing if name not in kept]
        for name in removed:
            self.remove(name)
        gone = [name for name in state["failed"] if not self.is_complete(name)]
        if gone:
            for name in gone:
                del state["failed"][name]
            self._write_state(state)
        return removed
