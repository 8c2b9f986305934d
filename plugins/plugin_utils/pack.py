# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pack a release on the control node: the list of its files, their digests, and one archive.

The same content gives the same digest and the same archive, byte for byte, on every control node: owners, times and
the order in which a directory lists its files do not count; of the permissions only "executable" does.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import itertools
import json
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..module_utils.release.fetcher import sha256_of as digest_of

#: Bytes of one part of an archive. Some connections read the whole file into memory, and none reports progress.
PART = 32 << 20
#: Of a file from this size on, a sample says whether it is worth compressing. A smaller one is compressed.
_SAMPLED_FROM = 1 << 20
_SAMPLE = 64 << 10
_WORTH_COMPRESSING = 0.95


class PackError(Exception):
    """The source cannot be packed; the message says what is wrong and what to do."""


@contextmanager
def in_words(what: str) -> Iterator[None]:
    """Say in words why a file of the control node cannot be read or written.

    :param what: the beginning of the sentence
    """
    try:
        yield
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        raise PackError(f"{what} ({error.strerror or error}{place}).") from None


class NoFile(PackError):
    """A socket, a pipe or a device, which git never has."""


@dataclass(frozen=True)
class Entry:
    """One file or symbolic link of a release."""

    path: str
    digest: str
    executable: bool = False
    link: str | None = None
    source: Path | None = None
    data: bytes | None = None
    size: int = 0
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
    return Entry(path, hashlib.sha256(data).hexdigest(), data=data, size=len(data))


def entry_from_file(
    path: str, source: Path, root: Path, leads_to_host: bool = False, digest_of: Callable[[Path], str] = digest_of
) -> Entry:
    """An entry for a file or link below ``root``.

    :param leads_to_host: whether a link may lead to an absolute path, which is one of the host
    :param digest_of: returns the digest of a file's content, and may remember it
    :raises PackError: for a link that leaves ``root``, or something that is neither file nor link
    """
    try:
        status = source.lstat()
        if stat.S_ISLNK(status.st_mode):
            return _entry_from_link(path, source, root, leads_to_host)
        if not stat.S_ISREG(status.st_mode):
            raise NoFile(f"{source} is neither a file nor a link. Leave it out with flask_app_exclude.")
        found = digest_of(source)
    except OSError as error:
        raise PackError(f"{source} cannot be read: {error.strerror}") from error
    return Entry(path, found, bool(status.st_mode & 0o111), source=source, size=status.st_size)


def _entry_from_link(path: str, source: Path, root: Path, leads_to_host: bool) -> Entry:
    target = os.readlink(source)
    if os.path.isabs(target):
        is_followed = leads_to_host
    else:
        try:
            source.stat()
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise PackError(
                    f"{source} is a symbolic link to itself. Remove it, or leave it out with flask_app_exclude."
                ) from None
        is_followed = (source.parent / target).resolve().is_relative_to(root.resolve())
    if not is_followed:
        raise PackError(
            f"{source} is a symbolic link to {target}, outside the source: the host could not follow it."
            " Copy the file into the source, leave the link out with flask_app_exclude, or name it in flask_app_shared_paths if the"
            " host has what it leads to."
        )
    return Entry(path, hashlib.sha256(os.fsencode(target)).hexdigest(), link=target)


@dataclass
class Collected:
    """The entries of a source, without the files that are rendered for each host."""

    entries: list[Entry]
    requirements: list[str]
    origin: dict[str, str]
    #: Sentences on how the source was read: what was left out, where the packages come from.
    notes: list[str] = field(default_factory=list)
    #: Paths of the source that are to be links into the app's shared folder.
    shared_paths: list[str] = field(default_factory=list)
    #: For which versions of Python the source is, each after the place that says so.
    pythons: list[tuple[str, str]] = field(default_factory=list)
    #: Directory of the source on the control node, or an empty text.
    source: str = ""


class Shared:
    """The folder that all hosts of a run share, so that the source is read and packed once.

    Ansible works on each host in a process of its own; they meet in a folder that lives as long as the run.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)

    def collected(self, collect: Callable[[Path], Collected]) -> Collected:
        """The result of ``collect``, which runs for the first host only, with a folder that stays until the run ends."""
        found = self.folder / "collected.json"
        with self.alone():
            if not found.exists():
                scratch = self.folder / "scratch"
                shutil.rmtree(scratch, ignore_errors=True)
                scratch.mkdir()
                given = collect(scratch)
                # Not asdict, which copies what is in each entry: with 10,000 files that takes longer than to read them.
                self._write(found, json.dumps({**vars(given), "entries": list(map(vars, given.entries))}, default=str))
                return given
        known = json.loads(found.read_text(encoding="utf-8", errors="surrogateescape"))
        entries = [
            Entry(**{**entry, "source": Path(entry["source"]) if entry["source"] else None})
            for entry in known["entries"]
        ]
        return Collected(**{**known, "entries": entries})

    def archive(
        self,
        entries: list[Entry],
        known: Iterable[str] = (),
        packed: Callable[[int], None] = int,
        extra: Iterable[Entry] = (),
    ) -> Path:
        """The archive of a release: the manifest of these entries, and those of them whose signature is not known.

        It may have further parts (`parts`).

        :param packed: is called with the number of bytes that are packed
        :param extra: further entries to send, which are not in the manifest
        """
        files = manifest(entries)
        new = [*lacking(entries, known), *extra]
        target = self.folder / f"{digest(files)}-{digest(manifest(new))}.tar.gz"
        with self.alone():
            if not target.exists():
                for part in self.folder.glob("part.tar.gz*"):  # of a host that failed
                    part.unlink()
                part = self.folder / "part.tar.gz"
                write_archive([*new, entry_from_bytes("manifest.json", to_json(files))], part, packed)
                for made in reversed(parts(part)):  # the first is there when all are
                    made.rename(target.with_name(target.name + made.name.removeprefix(part.name)))
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
    """Kind and digest of each path of the release."""
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


def lacking(entries: Iterable[Entry], known: Iterable[str]) -> list[Entry]:
    """The entries that have to be sent to a host that knows these signatures."""
    known = set(known)
    return [
        entry for entry in entries if not entry.is_fetched and (entry.link is not None or entry.signature not in known)
    ]


def parts(archive: Path) -> list[Path]:
    """The parts of an archive: NAME, NAME.1, NAME.2, ..."""
    further = (archive.with_name(f"{archive.name}.{number}") for number in itertools.count(1))
    return [archive, *itertools.takewhile(Path.exists, further)]


def write_archive(entries: Iterable[Entry], target: Path, packed: Callable[[int], None] = int) -> None:
    """Write the entries as a tar.gz whose bytes depend on nothing but their content, in `parts`."""
    done = 0
    with (
        _Parts(target) as raw,
        _Gzip(raw) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as archive,
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
                stream.set_level(1 if _is_worth_compressing(entry.source) else 0)
                _add_file(archive, info, entry, lambda size: packed(done + size))  # noqa: B023  (called at once)
                stream.set_level(1)
            done += info.size


class _Parts:
    """A file that goes on in another one when it is full."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.number = 0
        self.room = PART
        self.stream = target.open("wb")

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            if not self.room:
                self.stream.close()
                self.number += 1
                self.room = PART
                self.stream = self.target.with_name(f"{self.target.name}.{self.number}").open("wb")
            size = self.stream.write(rest[: self.room])
            self.room -= size
            rest = rest[size:]

    def __enter__(self) -> _Parts:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stream.close()


class _Gzip:
    """A gzip file in several members, of which each has a level of its own: gzip reads them as one."""

    def __init__(self, raw: _Parts) -> None:
        self.raw = raw
        self.level = 1
        self.member = zlib.compressobj(self.level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def set_level(self, level: int) -> None:
        """Compress so from (about) here on; 0 stores."""
        if level != self.level:
            self.raw.write(self.member.flush())
            self.level = level
            self.member = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def write(self, data: bytes) -> None:
        self.raw.write(self.member.compress(data))

    def __enter__(self) -> _Gzip:
        return self

    def __exit__(self, *_error: object) -> None:
        self.raw.write(self.member.flush())


def _is_worth_compressing(source: Path) -> bool:
    """Whether a sample of a file becomes smaller. Models, images and archives do not."""
    size = source.stat().st_size
    if size < _SAMPLED_FROM:
        return True
    with source.open("rb") as stream:
        sample = stream.read(_SAMPLE)
        stream.seek(size // 2)
        sample += stream.read(_SAMPLE)
    return len(zlib.compress(sample, 1)) < _WORTH_COMPRESSING * len(sample)


def _add_file(archive: tarfile.TarFile, info: tarfile.TarInfo, entry: Entry, packed: Callable[[int], None]) -> None:
    with entry.source.open("rb") as stream:
        info.size = os.fstat(stream.fileno()).st_size
        check = _Digesting(stream, packed)
        archive.addfile(info, check)
    if check.digest.hexdigest() != entry.digest:
        raise PackError(
            f"{entry.source} changed while it was packed. Run this again when no program writes into the source."
        )


class _Digesting:
    """A file that knows the digest of what was read from it."""

    def __init__(self, stream, read):
        self.stream = stream
        self.told = read
        self.size = 0
        self.digest = hashlib.sha256()

    def read(self, size=-1):
        block = self.stream.read(size)
        self.digest.update(block)
        self.size += len(block)
        self.told(self.size)
        return block
