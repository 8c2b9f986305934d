# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The virtual environments of one app on this host. Releases with the same packages have the same one.

``<root>/environments/<name>/venv`` is one environment; it is complete once ``environment.json`` is next to it.
``<root>/releases/<id>/venv`` links to it. A release that was built before 1.0.0 has its own environment there instead of the link.

The caller holds the app's lock while it writes.
"""

from __future__ import annotations

import contextlib
import grp
import hashlib
import json
import os
import re
import subprocess
import typing as t

from .. import python_env, virtual_env
from ..host import foreign
from ..host.atomic import kept_aside, now, put_back, remove_file, remove_tree, sync_directory, write_atomically
from ..host.in_use import in_use
from ..host.logins import Logins, masked
from . import git_logins, installable, package_lock, source_versions
from .fetcher import sha256_of
from .package_lock import PackageLock
from .requirement_lines import SOURCE, lines

_NAME = re.compile(r"[0-9a-f]{16}")
_MARK = "environment.json"
_LARGEST_MARK = 64 * 1024
_PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg")
_LARGEST_PROJECT_FILE = 1 << 20


class Environments:
    """The environments under ``root`` (normally ``/srv/<app>``)."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.folder = os.path.join(root, "environments")

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def venv(self, name: str) -> str:
        return os.path.join(self.folder, name, "venv")

    def is_usable(self, name: str) -> bool:
        """Whether an environment was made to its end, and its interpreter is there."""
        try:
            mark = foreign.mapping(os.path.join(self.path(name), _MARK), _LARGEST_MARK)
        except (OSError, foreign.Unreadable):
            return False
        return bool(mark) and virtual_env.usable(self.venv(name))

    def make(self, name: str, contents: dict[str, t.Any], account: t.Any, install: t.Callable[[str], None]) -> None:
        """Make an environment in its place; the mark comes last and makes it count.

        :param contents: the contents of the mark
        :param install: makes the virtual environment, whose path it is given, and leaves it to root
        """
        path = self.path(name)
        os.makedirs(self.folder, mode=0o755, exist_ok=True)
        with kept_aside(path):
            os.mkdir(path, 0o700)
            if account:
                os.chown(path, 0, account.gid)
                os.chmod(path, 0o710)
            install(self.venv(name))
            os.chown(path, 0 if account else -1, 0 if account else -1)
            os.chmod(path, 0o700)
            subprocess.run(["sync", "--file-system", path], check=False)  # pylint: disable=ansible-bad-function
            mark = {"name": name, "built_at": now(), **contents}
            write_atomically(os.path.join(path, _MARK), (json.dumps(mark, indent=2) + "\n").encode(), 0o644)

    def open_to(self, name: str, group: str) -> None:
        """Let only root and the app's group enter an environment."""
        path = self.path(name)
        os.chown(path, -1, grp.getgrnam(group).gr_gid)
        os.chmod(path, 0o750)

    def link(self, name: str, release: str) -> None:
        """Have a release in this folder use an environment. A relative link, so that a copy of the tree stays usable."""
        os.symlink(os.path.relpath(self.venv(name), release), os.path.join(release, "venv"))

    def recover(self) -> None:
        """Tidy up after a build that was killed: an environment that it was replacing comes back, a half-made one goes."""
        for entry in self._entries():
            if entry.endswith((".before", ".old")):
                put_back(self.path(entry.partition(".")[0]))
        for entry in self._entries():
            if not os.path.isfile(os.path.join(self.path(entry), _MARK)):
                remove_tree(self.path(entry))

    def prune(self) -> list[str]:
        """Remove the environments that no release links to and no process runs from; return their names."""
        names = [name for name in self._entries() if _NAME.fullmatch(name)]
        linked = self._linked()
        unused = [name for name in names if name not in linked]
        busy = in_use([self.path(name) for name in unused]) if unused else ()
        removed = [name for name in unused if self.path(name) not in busy]
        for name in removed:
            if remove_file(os.path.join(self.path(name), _MARK)):
                sync_directory(self.path(name))
            remove_tree(self.path(name))
        return removed

    def _linked(self) -> set[str]:
        """The environments that a release links to, whole or not."""
        releases, found = os.path.join(self.root, "releases"), set()
        for entry in _names(releases):
            try:
                parts = os.readlink(os.path.join(releases, entry, "venv")).split("/")
            except OSError:
                continue
            found.update(part for part in parts if _NAME.fullmatch(part))
        return found

    def _entries(self) -> list[str]:
        return [name for name in _names(self.folder) if not os.path.islink(self.path(name))]


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


class Needed:
    """The environment that a release needs: its name, and how it is made.

    :param path: folder of the release, with its source, unchanged since root has unpacked it
    """

    def __init__(self, params: dict[str, t.Any], path: str, python: str) -> None:
        self.params, self.python = params, python
        #: Names of the packages that were built in this run.
        self.from_source: set[str] = set()
        self.source = os.path.join(path, "src")
        self.files = [os.path.join(path, name) for name in params["requirements"]]
        self.options = package_lock.options_in(self.files)
        texts = [text for file in self.files for _where, text in lines(file)] + list(params["packages"])
        named = source_versions.folders_in(texts)
        texts += [*params["overrides"], *self._texts_of_projects(named)]
        self.logins, self.of_git = Logins(texts), git_logins.environment(texts)
        self.digests = {relative: digest_of(os.path.join(self.source, relative)) for relative in sorted(named)}

    def _texts_of_projects(self, named: t.Iterable[str]) -> t.Iterator[str]:
        """The files by which projects of the source say what they need."""
        for path in (os.path.join(self.source, folder, name) for folder in named for name in _PROJECT_FILES):
            with contextlib.suppress(OSError, foreign.Unreadable):
                yield foreign.read(path, _LARGEST_PROJECT_FILE).decode("utf-8", "replace")

    def name(self, lock: PackageLock) -> str:
        """Sixteen hexadecimal digits that are the same for the same packages, Python and installer."""
        content = self.params["content"]
        identity = {
            "lock": lock.digest,
            "options": [masked(text) for text in self.options],
            "source": {relative: self.digests.get(relative, content) for relative in lock.folders()},
            "links": self.digests if any(SOURCE in text for text in self.options) else {},
            "installer": "uv" if self.params["uv"] else "pip",
            # Two of one version may differ in all else, and one of them may be removed.
            "python": [*self.python.split(".")[:2], os.path.realpath(self.params["python"])],
            "platform": virtual_env.platform(),
        }
        identity.update(package_lock.options_of_installer(self.params))
        tokens = {p.name: self.logins.restored(p.name, p.address) for p in lock.packages if "=***" in p.address}
        identity.update({"tokens": tokens} if tokens else {})  # the field of a query may say which file it is
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]

    def built(self, lock: PackageLock) -> tuple[str, ...]:
        """The packages that were built in this run, without projects of the source."""
        own = {package.name for package in lock.packages if SOURCE in package.address}
        return tuple(sorted(self.from_source - own))

    def contents(self, lock: PackageLock) -> dict[str, t.Any]:
        """The contents of the environment's mark."""
        return {"lock": lock.digest, "python": self.python, "installer": "uv" if self.params["uv"] else "pip"}

    def install(self, lock: PackageLock, venv: str, account: t.Any) -> None:
        """Make the virtual environment with the packages of the lock, and nothing else."""
        given, uv = self.params["packages"], bool(self.params["uv"])
        installable.check(self.files, given, self.python, virtual_env.platform(), uv)
        installer = python_env.Installer.from_options(self.params, account)
        installer.environment.update(self.of_git, PROJECT_ROOT=self.source)  # requirement_lines.SOURCE
        installer.environment.update(installable.environment_for(self.files))
        installer.environment.update(source_versions.environment_for(self.source, self.digests))
        installer.create(venv, self.params["python"])
        hashed, others = lock.requirements(self.logins)
        # pip wants a hash for all that it installs at once, or for nothing.
        for number, packages in enumerate([hashed + others] if uv else [hashed, others]):
            if packages:
                file = f"{venv}.{number}.txt"
                with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="utf-8") as stream:
                    stream.writelines(f"{git_logins.without(line)}\n" for line in [*self.options, *packages])
                installer.install(venv, ["--no-deps", "-r", file])
                remove_file(file)
        self.from_source |= installer.from_source
        installer.take_over(venv)
        installer.tidy_cache()


def digest_of(path: str) -> str:
    """The digest of a file, or of all files in a folder. Links are not followed."""
    total = hashlib.sha256()
    if os.path.isfile(path) and not os.path.islink(path):
        _add(total, path)
    for folder, names, others in os.walk(path):
        names.sort()
        for name in sorted(others):
            file = os.path.join(folder, name)
            total.update(os.fsencode(f"{os.path.relpath(file, path)}\0"))
            if os.path.islink(file):
                total.update(os.fsencode(os.readlink(file)))
            else:
                _add(total, file)
    return total.hexdigest()


def _add(total: t.Any, path: str) -> None:
    total.update(bytes.fromhex(sha256_of(path)))
