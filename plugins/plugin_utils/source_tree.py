# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Says which files of a source belong to a release, and which git keeps from it; refuses a source that is not all there."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..module_utils.host.foreign import printable
from .checkout import run_git
from .pack import Entry, NoFile, PackError, digest_of, entry_from_file
from .text import size

# Never part of a release, anywhere in a source tree. A directory with a pyvenv.cfg is left out as well.
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
_LFS_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\r?\n(?:[^\n]*\n)*?oid sha256:[0-9a-f]{64}\r?\n"
)
_LFS_LARGEST = 1024
_OF_ANNEX = re.compile(r"(.*/)?\.git/annex/objects/.*")
_ANNEX_POINTER = re.compile(rb"/annex/objects/[^\s/]+\s*")
_ENCRYPTED = b"\0GITCRYPT\0"
#: What keeps the content of a file elsewhere, and how it is had.
_FETCHED_BY = {
    "Git LFS": "Install git-lfs on the control node; in a source of your own, run `git lfs pull` there.",
    "git-annex": "Run `git annex get` where the source comes from.",
    "git-crypt": "Run `git-crypt unlock` where the source comes from.",
}
_NAMED_AT_MOST = 3
#: At the root of a published source distribution. Its maker has chosen its files, built ones that git ignores among them.
_PUBLISHED = "PKG-INFO"


@dataclass
class LeftOut:
    """The files that git ignores and a release therefore lacks: their number, size and the largest ones."""

    count: int = 0
    size: int = 0
    largest: list[tuple[int, str]] = field(default_factory=list)
    #: Links of the release that lead to what is left out, each with what it leads to.
    links: list[tuple[str, str]] = field(default_factory=list)

    def add(self, path: str, count: int) -> None:
        self.count += 1
        self.size += count
        self.largest = sorted([*self.largest, (-count, path)])[:_NAMED_AT_MOST]

    def __str__(self) -> str:
        """A sentence, or an empty text."""
        links = ""
        if self.links:
            more = f" and {len(self.links) - 1} more are links" if len(self.links) > 1 else " is a link"
            links = f"{printable(self.links[0][0])}{more} to what is left out, such as {printable(self.links[0][1])}."
        if not self.count:
            return links
        named = ", ".join(f"{printable(path)} ({size(-count)})" for count, path in self.largest)
        what = "1 file is left out, since git ignores it"
        if self.count > 1:
            what = f"{self.count} files are left out, since git ignores them: {size(self.size)}; the largest"
        return f"{what}: {named}. flask_app_include takes such files along. {links}".rstrip()


class SourceTree:
    """The files below a directory that belong to a release.

    Left out are what ``.gitignore`` files name (git decides, also in a folder that is no repository), what is never
    part of a release, and what a pattern in ``exclude`` matches (a name, or a path relative to ``root``). What a pattern in
    ``include`` matches, or whose directory it matches, belongs to the release although git ignores it. A symbolic link in ``links``
    may lead to an absolute path. An unpacked source distribution outside of any repository is whole: git ignores nothing of it.

    :param digest_of: returns the digest of a file's content
    :raises PackError: when git cannot be asked
    """

    def __init__(
        self,
        root: Path,
        exclude: Iterable[str] = (),
        include: Iterable[str] = (),
        links: Iterable[str] = (),
        digest_of: Callable[[Path], str] = digest_of,
    ) -> None:
        self.root = root
        self._digest_of = digest_of
        self._links = {path.rstrip("/") for path in links}
        self.left_out = LeftOut()
        self._excluded = _matcher((*ALWAYS_EXCLUDED, *exclude))
        self._included = {pattern: _matcher((pattern.rstrip("/"),)) for pattern in include}
        self._git = shutil.which("git")
        self._top: Path | None = None
        self._ignored = self._ignored_by_git()
        attributes = self.root / ".gitattributes"
        self._is_encrypted = attributes.is_file() and b"filter=git-crypt" in attributes.read_bytes()

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Every file of the release, with ``prefix`` before its path; `left_out` is known at the end.

        :raises PackError: when the source lacks something that git would have brought
        """
        unused = set(self._included)
        pointers: list[tuple[str, str]] = []
        links, kept = {}, set()
        for path, ignored in self._files():
            used = {pattern for pattern, matches in self._included.items() if _matches_within(matches, path)}
            unused -= used
            file = self.root / path
            if ignored and not used:
                with contextlib.suppress(FileNotFoundError):  # such as one that an editor has just removed
                    self.left_out.add(path, file.lstat().st_size)
                continue
            try:
                entry = entry_from_file(f"{prefix}/{path}", file, self.root, path in self._links, self._digest_of)
            except NoFile:
                if used:
                    raise
                self.left_out.add(path, 0)
                continue
            kept.add(path)
            if entry.link is not None and path not in self._links:
                links[path] = os.path.normpath(os.path.join(os.path.dirname(path), entry.link))
            keeper = self._kept_by(entry, file)
            if keeper:
                pointers.append((path, keeper))
            yield entry
        self._note_links(links, kept)
        self._refuse_pointers(pointers)
        self._refuse_empty_submodules()
        for pattern in sorted(unused):
            raise PackError(
                f"flask_app_include names {pattern}, and {self.root} has no such file. Make it (a build may not have run), or"
                " correct the pattern."
            )

    def _files(self) -> Iterator[tuple[str, bool]]:
        """Every file but those that are excluded, as (path, whether git ignores it)."""
        ignored_folders: set[str] = set()
        for directory, names, files in os.walk(self.root, onerror=_refuse_unreadable):
            here = Path(directory)
            relative = here.relative_to(self.root).as_posix()
            ignored_here = relative in ignored_folders
            relative = "" if relative == "." else relative + "/"
            links = [name for name in names if (here / name).is_symlink()]
            names[:] = sorted(
                name
                for name in names
                if name not in links
                and not self._excluded(relative + name)
                and not os.path.exists(
                    here / name / "pyvenv.cfg"
                )  # also of a folder that is closed, which the walk refuses
            )
            for name in names:
                if ignored_here or f"{relative}{name}/" in self._ignored:
                    ignored_folders.add(relative + name)
            for name in sorted(files + links):
                path = relative + name
                if not self._excluded(path):
                    yield path, ignored_here or path in self._ignored

    def _note_links(self, links: dict[str, str], kept: set[str]) -> None:
        """Note the links whose content stays here."""
        folders = {path.rpartition("/")[0] for path in kept} if links else set()
        folders |= {"/".join(folder.split("/")[:count]) for folder in folders for count in range(folder.count("/") + 1)}
        for path, target in links.items():
            if target not in kept and target not in folders and (self.root / target).exists():
                self.left_out.links.append((path, target))

    def _kept_by(self, entry: Entry, file: Path) -> str:
        """What keeps the content of a file, if that is not in the source; empty if it is."""
        if entry.link is not None:
            return "git-annex" if _OF_ANNEX.fullmatch(entry.link) else ""
        if self._is_encrypted:
            with file.open("rb") as stream:
                if stream.read(len(_ENCRYPTED)) == _ENCRYPTED:
                    return "git-crypt"
        content = file.read_bytes() if entry.size <= _LFS_LARGEST else b""
        if _LFS_POINTER.match(content):
            return "Git LFS"
        return "git-annex" if _ANNEX_POINTER.fullmatch(content) else ""

    def _refuse_pointers(self, pointers: list[tuple[str, str]]) -> None:
        if pointers:
            others = f" and {len(pointers) - 1} others are pointers" if len(pointers) > 1 else " is a pointer"
            path, keeper = pointers[0]
            raise PackError(
                f"{self.root / path}{others} of {keeper}, and not the content. {_FETCHED_BY[keeper]}"
                " Or leave it out with flask_app_exclude."
            )

    def _refuse_empty_submodules(self) -> None:
        if not self._git:
            return
        places = {self._top or self.root, self.root}
        while places:
            folder = places.pop()
            if not (folder / ".gitmodules").is_file():
                continue
            listing = ["config", "-z", "-f", str(folder / ".gitmodules"), "--get-regexp", r"^submodule\..*\.path$"]
            for found in filter(None, os.fsdecode(run_git(self._git, listing).stdout).split("\0")):
                module = folder / found.partition("\n")[2]
                relative = os.path.relpath(module.resolve(), self.root.resolve())
                if (
                    relative.startswith("..")
                    or _matches_within(self._excluded, relative)
                    or f"{relative}/" in self._ignored
                ):
                    continue
                if not module.is_dir() or not any(name != ".git" for name in os.listdir(module)):
                    raise PackError(
                        f"{module} is a submodule of git that is not there. Run `git submodule update --init --recursive` in"
                        f" {folder}, or leave it out with flask_app_exclude."
                    )
                places.add(module)

    def _ignored_by_git(self) -> set[str]:
        """The paths that git ignores below the root: files, and directories with a slash at the end."""
        git, root = self._git, self.root
        if git is None:
            if not self._is_published() and any(root.rglob(".gitignore")):
                raise PackError(
                    f"{root} has a .gitignore, and git is not installed on the control node to read it."
                    " Install git, or name what to leave out in flask_app_exclude and remove the .gitignore."
                )
            return set()
        listing = ["ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z"]
        inside = run_git(git, ["-C", str(root), "rev-parse", "--show-toplevel"])
        if inside.returncode == 0:
            self._top = Path(os.fsdecode(inside.stdout).rstrip("\n"))
            # A whole source that its repository ignores (a build folder, say) was named on purpose. Its own .gitignore is no reason.
            place = ["-C", str(root.parent), "check-ignore", "-q", str(root)]
            if self._top != root.resolve() and run_git(git, place).returncode == 0:
                return set()
            # A tracked file is part of the source even if a pattern matches it: --others leaves it out of this list.
            done = run_git(git, ["-C", str(root), *listing])
        elif not self._is_published() and any(root.rglob(".gitignore")):
            with tempfile.TemporaryDirectory() as scratch:
                run_git(git, ["init", "-q", "--bare", scratch])
                done = run_git(git, [f"--git-dir={scratch}", f"--work-tree={root}", "-C", str(root), *listing])
        else:
            return set()
        if done.returncode:
            raise PackError(f"git cannot list what {root} ignores: {done.stderr.decode(errors='replace').strip()}")
        found = set(os.fsdecode(done.stdout).split("\0"))
        return set() if "./" in found else found  # a build folder whose own .gitignore names all of it

    def _is_published(self) -> bool:
        """Whether this is an unpacked source distribution: without git, a repository is known by its folder."""
        file = self.root / _PUBLISHED
        if not file.is_file() or any(
            (folder / ".git").exists() for folder in (self.root, *self.root.resolve().parents)
        ):
            return False
        with file.open("rb") as stream:
            return stream.readline(100).startswith(b"Metadata-Version:")


def _refuse_unreadable(error: OSError) -> None:
    raise PackError(
        f"{error.filename} cannot be read: {error.strerror}. Deploy as a user who may read it, or leave it out with flask_app_exclude."
    )


def _matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether one of the patterns matches a path, or the name at its end. As for git, ``**/`` is also the source itself."""
    patterns = [*patterns, *(pattern[3:] for pattern in patterns if pattern.startswith("**/"))]
    names, paths = (
        re.compile("|".join(map(fnmatch.translate, some))).match
        for some in (patterns, [pattern.rstrip("/") for pattern in patterns])
    )
    return lambda path: bool(names(path.rpartition("/")[2]) or paths(path))


def _matches_within(matches: Callable[[str], bool], path: str) -> bool:
    """Whether a path, or a directory that it lies in, matches."""
    parts = path.split("/")
    return any(matches("/".join(parts[: number + 1])) for number in range(len(parts)))


def is_lfs_pointer(file: Path) -> bool:
    """Whether a file only says which content git-lfs has for it."""
    if file.stat().st_size > _LFS_LARGEST:
        return False
    return bool(_LFS_POINTER.match(file.read_bytes()))
