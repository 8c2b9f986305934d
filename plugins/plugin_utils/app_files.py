# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files from outside of the source (flask_app_files): those of the control node are packed, those of an address are named by their digest."""

from __future__ import annotations

import json
import os
import typing as t
from collections.abc import Callable
from pathlib import Path

from ansible.errors import AnsibleError

from ..module_utils.release import fetcher
from ..module_utils.release.app_files import FOLDER
from .pack import Entry, PackError, Shared, digest_of, entry_from_file
from .source_tree import is_lfs_pointer

Given = dict[str, t.Any]


def entries(
    given: list[Given],
    find: Callable[[str], Path],
    scratch: Path,
    source: set[str],
    digest: Callable[[Path], str] = digest_of,
) -> list[Entry]:
    """The entries of these files in a release.

    :param find: where a file or a directory is on the control node
    :param source: the paths that the source has in the release
    :param digest: returns the digest of a file's content, and may remember it
    :raises PackError: for a file that does not exist, has another digest, or has the path of a file of the source
    """
    found: list[Entry] = []
    for number, file in enumerate(given):
        path = f"src/{file['path']}"
        _refuse_taken(file["path"], path, source)
        if file.get("url"):
            found.append(_entry_of_address(file))
        else:
            found += _packed(file, path, _place_of(file["src"], find), scratch / f"extra-{number}", digest)
    return found


def for_host(given: list[Given]) -> dict[str, t.Any]:
    """The module's parameters for files that it fetches. Requests are separate, since they may be secret."""
    fetched = [file for file in given if file.get("url")]
    return {
        "fetch": [
            {"path": file["path"], "sha256": file["sha256"].lower(), "unarchive": bool(file.get("unarchive"))}
            for file in fetched
        ],
        "fetch_from": json.dumps(
            {file["path"]: {"url": file["url"], "headers": file.get("headers") or {}} for file in fetched}
        ),
    }


def fetched(given: list[Given], known: t.Collection[str], shared: Shared) -> list[Entry]:
    """Fetch files on the control node, once for all hosts of a run, for hosts without a network.

    :param known: signatures of the files that the host has
    """
    lacking = [file for file in given if file.get("url") and _entry_of_address(file).signature not in known]
    wanted = {file["sha256"].lower(): file for file in lacking}
    with shared.alone():
        return [_fetched(file, digest, shared.folder) for digest, file in wanted.items()]


def _entry_of_address(file: Given) -> Entry:
    return Entry(f"src/{file['path']}", file["sha256"].lower(), archive=bool(file.get("unarchive")))


def _fetched(file: Given, digest: str, folder: Path) -> Entry:
    target = folder / f"fetched-{digest}"
    if not target.exists():
        part = target.with_suffix(".part")
        part.unlink(missing_ok=True)
        try:
            fetcher.download(file["url"], str(part), file.get("headers") or {})
        except fetcher.FetchError as error:
            raise PackError(f"flask_app_files ({file['path']}), for a host without a network: {error}") from None
        _check_digest(file, part, fetcher.shown(file["url"]))
        part.rename(target)
    return Entry(f"{FOLDER}/{digest}", digest, source=target, size=target.stat().st_size)


def _refuse_taken(name: str, path: str, source: set[str]) -> None:
    parts = path.split("/")
    above = {"/".join(parts[:count]) for count in range(2, len(parts) + 1)}
    taken = next((one for one in sorted(source) if one in above or one.startswith(f"{path}/")), None)
    if taken:
        raise PackError(
            f"flask_app_files names {name}, and the source has {taken.partition('/')[2]} there. Choose another path, or leave the"
            " file out of the source (flask_app_exclude)."
        )


def _place_of(src: str, find: Callable[[str], Path]) -> Path:
    try:
        return find(src)
    except AnsibleError:
        raise PackError(
            f"flask_app_files names {src}, and there is no such file on the control node. Correct src; the path of a file next to"
            " the inventory begins with {{ inventory_dir }}."
        ) from None


def _packed(file: Given, path: str, place: Path, scratch: Path, digest: Callable[[Path], str]) -> list[Entry]:
    if file.get("sha256"):
        if place.is_dir():
            raise PackError(f"flask_app_files: {place} is a directory, which has no sha256. Take that out.")
        _check_digest(file, place, str(place), digest)
    if file.get("unarchive"):
        try:
            fetcher.extract(str(place), str(scratch))
        except (fetcher.FetchError, OSError) as error:
            raise PackError(f"flask_app_files: {place}: {error}") from None
        place = scratch
    if not place.is_dir():
        return [_entry(path, place, digest)]
    found = []
    for folder, names, files in os.walk(place, onerror=_refuse_unreadable):
        for name in names:
            if Path(folder, name).is_symlink():
                raise PackError(
                    f"flask_app_files: {Path(folder, name)} is a link to a directory. Name the directory itself."
                )
        found += [
            _entry(f"{path}/{Path(folder, name).relative_to(place).as_posix()}", Path(folder, name), digest)
            for name in files
        ]
    if not found:
        raise PackError(f"flask_app_files: {place} holds no file.")
    return sorted(found, key=lambda entry: entry.path)


def _refuse_unreadable(error: OSError) -> None:
    raise PackError(
        f"flask_app_files: {error.filename} cannot be read: {error.strerror}. Deploy as a user who may read it."
    )


def _entry(path: str, place: Path, digest: Callable[[Path], str]) -> Entry:
    """An entry for a file, or for the one that a link leads to: the cache of a hub of models is full of them."""
    whole = place.resolve()
    if whole.is_file() and is_lfs_pointer(whole):
        raise PackError(
            f"{place} is a pointer of git-lfs, and not the file itself. Run `git lfs pull` where it comes from."
        )
    return entry_from_file(path, whole, whole.parent, digest_of=digest)


def _check_digest(file: Given, place: Path, name: str, digest: Callable[[Path], str] = digest_of) -> None:
    found = digest(place)
    if found != file["sha256"].lower():
        raise PackError(
            f"{name} has the sha256 {found}, and flask_app_files ({file['path']}) wants {file['sha256']}."
            f" {fetcher.looks_like(str(place)) or 'Correct the one that is wrong.'}"
        )
