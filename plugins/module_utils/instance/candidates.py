# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The links, in a directory of root, that make the next start of an instance run another release than `current`."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import typing as t

from ..host import foreign
from ..host.atomic import remove_file, write_link


def candidates_folder(run_dir: str) -> str:
    """The directory of the app's candidate links. It is root's, and next to the run directory, where launch.py looks."""
    above, name = os.path.split(os.path.normpath(run_dir))
    return os.path.join(above, "pygun", name)


class Candidates:
    """The links that make the next start of an instance run another release than ``current``.

    A launcher from before they had a directory of root's looks for them in the run directory. It runs the first deploy after
    an upgrade, so for its sake they are made there too, as far as the app lets that happen.

    :param root: the app's directory; its ``current`` has the launcher that will look for them
    """

    def __init__(self, run_dir: str, root: str) -> None:
        self.folder = candidates_folder(run_dir)
        self._run_dir = run_dir
        self._launcher = os.path.join(root, "current", "lib", "pygun_runtime", "launch.py")

    def release_of(self, instance: str) -> str:
        """The release that the next start of the instance runs in the place of ``current``; empty if there is none."""
        for link in (self._link(instance), self._former_link(instance)):
            with contextlib.suppress(OSError):
                if os.lstat(link).st_uid == os.geteuid():
                    return os.path.basename(os.readlink(link))
        return ""

    def put(self, instance: str, release: str) -> None:
        """Have the next start of the instance run the release in this folder."""
        for folder in (os.path.dirname(self.folder), self.folder):
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)
            os.chmod(folder, 0o755)  # noqa: S103  the app reads it  # whatever the umask
        write_link(self._link(instance), release)
        if not self._launcher_knows():
            self._put_in_former_place(self._former_link(instance), release)

    def remove(self, instance: str) -> None:
        """Have the next start of the instance run ``current``."""
        remove_file(self._link(instance))
        former = self._former_link(instance)
        with contextlib.suppress(OSError):  # the app may make what it likes in its run directory
            if stat.S_ISLNK(os.lstat(former).st_mode):
                os.unlink(former)

    def remove_all(self, instances: t.Iterable[str]) -> None:
        """Have every instance run ``current`` when it starts; these, and those that have a candidate."""
        left = [name.rpartition(".next")[0] for name in foreign.names(self.folder, "") if name.endswith(".next")]
        for instance in {*instances, *left}:
            self.remove(instance)
        with contextlib.suppress(OSError):
            os.rmdir(self.folder)

    def _link(self, instance: str) -> str:
        return os.path.join(self.folder, f"{instance}.next")

    def _former_link(self, instance: str) -> str:
        return os.path.join(self._run_dir, f"{instance}.next")

    def _launcher_knows(self) -> bool:
        try:
            return b"CANDIDATES" in foreign.read(self._launcher)
        except (OSError, foreign.Unreadable):
            return False

    @staticmethod
    def _put_in_former_place(link: str, release: str) -> None:
        """Put the link in its place by a rename. A directory that the app has made there is renamed first."""
        beside = f"{link}.{secrets.token_hex(8)}"
        with contextlib.suppress(OSError):
            os.symlink(release, beside)
            try:
                os.rename(beside, link)
            except OSError:
                os.rename(link, f"{beside}.aside")
                os.rename(beside, link)
