# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The differences between two releases, for a diff."""

from __future__ import annotations

import os
import stat

from .. import virtual_env
from ..host import foreign
from . import record, shared_paths, texts

#: Bytes of a manifest: a line for each file of a release.
LARGEST_MANIFEST = 64 * 1024 * 1024
#: Python puts these into each new environment.
_OF_EACH_VENV = ("pip", "setuptools", "wheel")


def manifest_of(store, release):
    """Kind and digest of each file of a release; empty when there is none."""
    if release is None:
        return {}
    try:
        found = foreign.mapping(os.path.join(store.path(release), "manifest.json"), LARGEST_MANIFEST)
    except (OSError, foreign.Unreadable):
        return {}
    return {path: entry for path, entry in found.items() if isinstance(entry, str)}


def shown(store, before, after, current, release, shares):
    """The files and the shared paths that differ, as a diff of two lists, and the texts that the action plugin compares.

    :param shares: the shared paths of the new release
    """
    changed = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
    shared = set(shared_paths.paths_of(store.path(current))) if current else set()
    listing = {
        "before_header": f"files of release {current}" if current else "no release",
        "after_header": f"files of release {release}",
        "before": _listing(before, changed, shared - set(shares)),
        "after": _listing(after, changed, set(shares) - shared),
    }
    return {"diff": listing, "texts": texts_of(store.path(current), changed, before) if current else {}}


def _listing(files, changed, shared):
    links = (f"src/{path} -> shared/{path}\n" for path in sorted(shared))
    return "".join([*(f"{foreign.printable(path)} {files[path][:17]}\n" for path in changed if path in files), *links])


def packages_shown(store, current, lock):
    """The packages that differ, as a diff; nothing is said when they are not known yet.

    :param lock: the packages of the new release, or None
    """
    if lock is None:
        return {}
    before = pins_of(store, current) if current else ""
    if before == lock.pins:
        return {}
    headers = {
        "before_header": f"packages of release {current}" if current else "no packages",
        "after_header": "packages",
    }
    return {"packages_diff": {**headers, "before": before, "after": lock.pins}}


def pins_of(store, release):
    """A line for each package of a release. Without a lock, in a release of an older version, those of its environment."""
    lock = store.lock(release)
    if lock:
        return lock.pins
    installed = virtual_env.installed(os.path.join(store.path(release), "venv"))
    pairs = sorted((name, version) for name, version in installed.items() if name not in _OF_EACH_VENV)
    return "".join(f"{name}=={version}\n" for name, version in pairs)


def texts_of(folder, changed, known):
    """The text of each changed file in the current release; None if it may not be shown or is too long."""
    found, total = {}, 0
    for path in filter(texts.readable, changed):
        found[path] = ""
        if path in known:
            found[path] = _text(folder, path) if total < texts.TOTAL_LIMIT else None
            total += len(found[path] or "")
    return found


def _text(folder, path):
    if path == texts.SETTINGS:
        return texts.text_of(path, b"", record.shown_settings(folder))
    return _read(folder, path)


def _read(folder, path):
    name = os.path.join(folder, path)
    if os.path.realpath(name) != os.path.join(os.path.realpath(folder), path):
        return None  # a link leads elsewhere
    try:
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                return None
            return texts.text_of(path, stream.read(texts.FILE_LIMIT + 1))
    except OSError:
        return None
