# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Packs a release on the control node: which files belong to it, what their content is, and one archive of them.

The same content gives the same digest and the same archive, byte for byte, on every control node: owners, times and
the order in which a directory lists its files do not count; of the permissions only "executable" does.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


class PackError(Exception):
    """The source cannot be packed; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class Entry:
    """One file or symbolic link of a release."""

    path: str
    digest: str
    executable: bool = False
    link: str | None = None
    source: Path | None = None
    data: bytes | None = None
    #: Whether it is a directory, made of an archive of this digest.
    archive: bool = False

    @property
    def is_fetched(self) -> bool:
        """Whether the host fetches it: the archive of the release lacks it."""
        return self.link is None and self.source is None and self.data is None

    @property
    def signature(self) -> str:
        if self.archive:
            return f"archive:{self.digest}"
        kind = "link" if self.link is not None else "exec" if self.executable else "file"
        return f"{kind}:{self.digest}"


def entry_from_bytes(path: str, data: bytes) -> Entry:
    """An entry whose content is made here, such as the rendered pygun.py."""
    return Entry(path, hashlib.sha256(data).hexdigest(), data=data)


def entry_from_file(path: str, source: Path, root: Path) -> Entry:
    """An entry for a file or link below ``root``.

    :raises PackError: for a link that leaves ``root``, or something that is neither file nor link
    """
    if source.is_symlink():
        target = os.readlink(source)
        if os.path.isabs(target) or not (source.parent / target).resolve().is_relative_to(root.resolve()):
            raise PackError(
                f"{source} is a symbolic link to {target}, outside the source: the host could not follow it."
                " Copy the file into the source, or leave the link out with flask_app_exclude."
            )
        return Entry(path, hashlib.sha256(target.encode()).hexdigest(), link=target)
    if not source.is_file():
        raise PackError(f"{source} is neither a file nor a link. Leave it out with flask_app_exclude.")
    digest = hashlib.sha256()
    try:
        with source.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        executable = bool(source.stat().st_mode & 0o111)
    except OSError as error:
        raise PackError(f"{source} cannot be read: {error.strerror}") from error
    return Entry(path, digest.hexdigest(), executable, source=source)


@dataclass
class Collected:
    """What a source gives to a release, apart from what is rendered for each host."""

    entries: list[Entry]
    requirements: list[str]
    origin: dict[str, str]
    #: Sentences on how the source was read: what was left out, where the packages come from.
    notes: list[str] = field(default_factory=list)
    #: Directory of the source on the control node, or an empty text.
    source: str = ""


class Shared:
    """What the hosts of one run share: the source is read and packed once, whatever the number of hosts.

    Ansible works on each host in a process of its own; they meet in a folder that lives as long as the run.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)

    def collected(self, collect: Callable[[Path], Collected]) -> Collected:
        """What ``collect`` returned when the first host asked. It is given a folder that stays until the run ends."""
        found = self.folder / "collected.json"
        with self.alone():
            if not found.exists():
                scratch = self.folder / "scratch"
                shutil.rmtree(scratch, ignore_errors=True)
                scratch.mkdir()
                given = collect(scratch)
                # Not asdict, which copies what is in each entry: with 10,000 files that takes longer than to read them.
                self._write(found, json.dumps({**vars(given), "entries": list(map(vars, given.entries))}, default=str))
        known = json.loads(found.read_text(encoding="utf-8", errors="surrogateescape"))
        entries = [
            Entry(**{**entry, "source": Path(entry["source"]) if entry["source"] else None})
            for entry in known["entries"]
        ]
        return Collected(**{**known, "entries": entries})

    def archive(self, entries: list[Entry], fetch: Callable[[Path], list[Entry]] | None = None) -> Path:
        """The archive of a release: these entries, the manifest of them, and what ``fetch`` finds for a host without a network."""
        files = manifest(entries)
        target = self.folder / f"{digest(files)}{'.whole' if fetch else ''}.tar.gz"
        with self.alone():
            if not target.exists():
                part = target.with_suffix(".part")
                packed = [entry for entry in entries if not entry.is_fetched]
                packed += [entry_from_bytes("manifest.json", to_json(files)), *(fetch(self.folder) if fetch else ())]
                write_archive(packed, part)
                part.rename(target)
        return target

    def is_first_to(self, name: str) -> bool:
        """Whether no other host of the run has asked this."""
        try:
            (self.folder / name.replace(" ", "-")).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    @contextmanager
    def alone(self):
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @staticmethod
    def _write(path: Path, text: str) -> None:
        part = path.with_suffix(".part")
        part.write_text(text, encoding="utf-8", errors="surrogateescape")
        part.rename(path)


def manifest(entries: Iterable[Entry]) -> dict[str, str]:
    """What each path of the release holds: kind and digest."""
    return {entry.path: entry.signature for entry in sorted(entries, key=lambda entry: entry.path)}


def digest(files: dict[str, str]) -> str:
    """One digest for the whole content."""
    total = hashlib.sha256()
    for path, signature in sorted(files.items()):
        total.update(f"{path}\0{signature}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def to_json(files: dict[str, str]) -> bytes:
    """The manifest as it travels in the archive."""
    return (json.dumps(files, indent=0, sort_keys=True) + "\n").encode()


def write_archive(entries: Iterable[Entry], target: Path) -> None:
    """Write the entries as a tar.gz whose bytes depend on nothing but their content."""
    with (
        target.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.GNU_FORMAT) as archive,
    ):
        for entry in sorted(entries, key=lambda entry: entry.path):
            info = tarfile.TarInfo(entry.path)
            info.mode = 0o755 if entry.executable else 0o644
            if entry.link is not None:
                info.type = tarfile.SYMTYPE
                info.linkname = entry.link
                archive.addfile(info)
            elif entry.data is not None:
                info.size = len(entry.data)
                archive.addfile(info, io.BytesIO(entry.data))
            else:
                _add_file(archive, info, entry)


def _add_file(archive: tarfile.TarFile, info: tarfile.TarInfo, entry: Entry) -> None:
    with entry.source.open("rb") as stream:
        info.size = os.fstat(stream.fileno()).st_size
        check = _Digesting(stream)
        archive.addfile(info, check)
    if check.digest.hexdigest() != entry.digest:
        raise PackError(
            f"{entry.source} changed while it was packed. Run this again when no program writes into the source."
        )


class _Digesting:
    """A file that knows the digest of what was read from it."""

    def __init__(self, stream):
        self.stream = stream
        self.digest = hashlib.sha256()

    def read(self, size=-1):
        block = self.stream.read(size)
        self.digest.update(block)
        return block
