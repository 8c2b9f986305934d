# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Packs a release on the control node: which files belong to it, what their content is, and one archive of them.

The same content gives the same digest and the same archive, byte for byte, on every control node: owners, times and
the order in which a directory lists its files do not count; of the permissions only "executable" does.
"""

from __future__ import annotations

import fcntl
import fnmatch
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# How git asks a helper for a login, see gitcredentials(7).
_CREDENTIAL_HELPER = '!f() { printf "username=%s\\npassword=%s\\n" "$PYGUN_GIT_USER" "$PYGUN_GIT_PASSWORD"; }; f'

# Never part of a release, wherever they stand in a source tree. A directory with a pyvenv.cfg is left out as well.
ALWAYS_EXCLUDED = (
    ".git",
    ".hg",
    ".svn",
    "__pycache__",
    "*.pyc",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".tox",
    ".nox",
    ".venv",
    ".DS_Store",
)


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

    @property
    def signature(self) -> str:
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


def tree(root: Path, prefix: str, exclude: Iterable[str] = ()) -> Iterator[Entry]:
    """Every file below ``root`` that belongs to a release, with ``prefix`` before its path.

    Left out are what ``.gitignore`` files name (git decides, also in a folder that is no repository), what is never
    part of a release, and what a pattern in ``exclude`` matches (a name, or a path relative to ``root``).
    """
    excluded = _matcher((*ALWAYS_EXCLUDED, *exclude))
    ignored = _ignored_by_git(root)
    for directory, names, files in os.walk(root):
        here = Path(directory)
        relative = here.relative_to(root).as_posix()
        relative = "" if relative == "." else relative + "/"
        links = [name for name in names if (here / name).is_symlink()]
        names[:] = sorted(
            name
            for name in names
            if name not in links
            and f"{relative}{name}/" not in ignored
            and not excluded(relative + name)
            and not (here / name / "pyvenv.cfg").exists()
        )
        for name in sorted(files + links):
            path = relative + name
            if path not in ignored and not excluded(path):
                yield entry_from_file(f"{prefix}/{path}", here / name, root)


def _matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether one of the patterns matches a path, or the name at its end."""
    names, paths = (
        re.compile("|".join(map(fnmatch.translate, some))).match
        for some in (patterns, [pattern.rstrip("/") for pattern in patterns])
    )
    return lambda path: bool(names(path.rpartition("/")[2]) or paths(path))


def _ignored_by_git(root: Path) -> set[str]:
    """What git ignores below ``root``: files, and directories with a slash behind."""
    git = shutil.which("git")
    if git is None:
        if any(root.rglob(".gitignore")):
            raise PackError(
                f"{root} has a .gitignore, and git is not installed on the control node to read it."
                " Install git, or name what to leave out in flask_app_exclude and remove the .gitignore."
            )
        return set()
    listing = ["ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z"]
    inside = _git(git, ["-C", str(root), "rev-parse", "--is-inside-work-tree"])
    if inside.returncode == 0:
        # A whole source that its repository ignores (a build folder, say) was named on purpose.
        if _git(git, ["-C", str(root), "check-ignore", "-q", str(root)]).returncode == 0:
            return set()
        # A tracked file is part of the source even if a pattern matches it: --others leaves it out of this list.
        done = _git(git, ["-C", str(root), *listing])
    elif any(root.rglob(".gitignore")):
        with tempfile.TemporaryDirectory() as scratch:
            _git(git, ["init", "-q", "--bare", scratch])
            done = _git(git, [f"--git-dir={scratch}", f"--work-tree={root}", "-C", str(root), *listing])
    else:
        return set()
    if done.returncode:
        raise PackError(f"git cannot list what {root} ignores: {done.stderr.decode(errors='replace').strip()}")
    return set(os.fsdecode(done.stdout).split("\0"))


def checkout(repo: str, ref: str, target: Path) -> str:
    """Check a git repository out at a branch, tag or commit; return the commit.

    :raises PackError: when git is missing or cannot fetch it
    """
    git = shutil.which("git")
    if git is None:
        raise PackError("flask_app_git_repo needs git on the control node (the hosts need none). Install git.")
    address, login = _login(repo)
    _git(git, ["init", "-q", str(target)])
    fetched = _git(git, ["-C", str(target), "fetch", "-q", "--depth=1", "--", address, ref], login)
    names = ["FETCH_HEAD"]
    if fetched.returncode:
        # A server may refuse a bare commit or a part of the history, and an abbreviated commit cannot be asked for.
        wanted = ["+refs/heads/*:refs/remotes/origin/*", *(["+HEAD:refs/remotes/origin/HEAD"] if ref == "HEAD" else [])]
        fetched = _git(git, ["-C", str(target), "fetch", "-q", "--tags", "--", address, *wanted], login)
        names = [f"refs/remotes/origin/{ref}", ref]
    for name in names:
        commit = _git(git, ["-C", str(target), "rev-parse", "-q", "--verify", f"{name}^{{commit}}"])
        if commit.returncode == 0:
            break
    if fetched.returncode or commit.returncode:
        reason = fetched.stderr.decode(errors="replace").strip() or f"it has no {ref}"
        raise PackError(without_password(f"{ref} cannot be fetched from {repo}: {reason}"))
    name = commit.stdout.decode().strip()
    done = _git(git, ["-C", str(target), "checkout", "-q", name])
    if done.returncode == 0:
        submodules = ["submodule", "update", "-q", "--init", "--recursive", "--depth=1"]
        done = _git(git, ["-C", str(target), *submodules], login)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()
        raise PackError(without_password(f"{ref} of {repo} cannot be checked out: {reason}"))
    return name


def _login(repo: str) -> tuple[str, dict[str, str]]:
    """The address without its user and password, and the variables by which git is told them.

    In an argument, every user of the control node could read them; git's own helpers get the address as one, too.
    """
    found = re.match(r"(https?://)([^/@:\s]+):([^/@\s]*)@([^/]+)(.*)", repo)
    if not found:
        return repo, {}
    scheme, user, password, host, path = found.groups()
    known = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    variables = {
        "GIT_CONFIG_COUNT": str(known + 2),
        "PYGUN_GIT_USER": urllib.parse.unquote(user),
        "PYGUN_GIT_PASSWORD": urllib.parse.unquote(password),
    }
    # The empty one takes the place of those that the user has for all addresses.
    for number, helper in enumerate(("", _CREDENTIAL_HELPER), known):
        variables[f"GIT_CONFIG_KEY_{number}"] = f"credential.{scheme}{host}.helper"
        variables[f"GIT_CONFIG_VALUE_{number}"] = helper
    return f"{scheme}{host}{path}", variables


def without_password(text: str) -> str:
    """The text with the user and password of every address in it masked."""
    return re.sub(r"(://)[^/@\s]+@", r"\1***@", text)


def _git(git: str, arguments: list[str], variables: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8", **(variables or {})}
    return subprocess.run(
        [git, "-c", "safe.directory=*", "-c", "core.quotepath=off", *arguments],
        capture_output=True,
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
    )


@dataclass
class Collected:
    """What a source gives to a release, apart from what is rendered for each host."""

    entries: list[Entry]
    requirements: list[str]
    origin: dict[str, str]


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
        return Collected(entries, known["requirements"], known["origin"])

    def archive(self, entries: list[Entry]) -> Path:
        """The archive of a release: these entries, and the manifest of them."""
        files = manifest(entries)
        target = self.folder / f"{digest(files)}.tar.gz"
        with self.alone():
            if not target.exists():
                part = target.with_suffix(".part")
                write_archive([*entries, entry_from_bytes("manifest.json", to_json(files))], part)
                part.rename(target)
        return target

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
            f"{entry.source} changed while it was packed. Run this again when nobody writes into the source."
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
