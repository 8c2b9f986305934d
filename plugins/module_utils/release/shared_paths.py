# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Paths of a source that outlive its releases: links of a release into the app's shared folder, and what they lead to.

The shared folder belongs to the app, which may put a link anywhere in it. So what is made there is made as the app's user.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import typing as t

from . import record

#: The folder of a release with the first content of the paths, as plugin_utils/shared_paths.py packs it.
_FIRST_CONTENT = "shared"
#: Seconds that making all of them may take: the first content may be large, and an app may make its folders endless.
_LONGEST = 600


class SharedPathError(Exception):
    """A path cannot be shared; the text says why."""


def link(release: str, paths: t.Iterable[str]) -> None:
    """Make the links in the source of a release, which is root's again. What a build has left in the way is refused, and not followed."""
    source = os.path.join(release, "src")
    for text in paths:
        path = text.rstrip("/")
        folder = source
        for part in path.split("/")[:-1]:
            folder = os.path.join(folder, part)
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o755)
            if not stat.S_ISDIR(os.lstat(folder).st_mode):
                raise SharedPathError(
                    f"{path} of flask_app_shared_paths leads through {folder}, which is no folder. Name another path."
                )
        place = os.path.join(source, path)
        if os.path.lexists(place):
            raise SharedPathError(
                f"{place} has been made by the build of a package or comes from flask_app_files, and flask_app_shared_paths names {path}."
                " Name another path there."
            )
        shared = os.path.join(os.path.dirname(os.path.dirname(release)), "shared")
        os.symlink(os.path.relpath(os.path.join(shared, path), folder), place)


def paths_of(release: str) -> list[str]:
    """The paths that a release shares, by its release.json."""
    found = record.metadata(release).get("shared_paths")
    return [path for path in found if isinstance(path, str)] if isinstance(found, list) else []


def provide(release: str) -> None:
    """Make the folders that the links of a release lead to, with their first content where there is none yet.

    :raises SharedPathError: when that cannot be done
    """
    paths = paths_of(release)
    if not paths:
        return
    root = os.path.dirname(os.path.dirname(release))
    shared, first = os.path.join(root, "shared"), os.path.join(release, _FIRST_CONTENT)
    owner = os.lstat(shared)
    if not stat.S_ISDIR(owner.st_mode):
        raise SharedPathError(f"{shared} is no folder. Move it away; a deploy makes the folder.")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(_LONGEST)  # the app may write to these folders meanwhile
            _become(owner)
            os.umask(0o022)
            for path in paths:
                _provide(
                    os.path.join(shared, path.rstrip("/")), os.path.join(first, path.rstrip("/")), path.endswith("/")
                )
        except Exception as error:  # pylint: disable=broad-except
            os.write(writing, str(error).encode("utf-8", "replace")[:1000] or b"?")
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8", errors="replace") as stream:
        problem = stream.read()
    _pid, status = os.waitpid(child, 0)
    if status and not problem:
        problem = f"it took longer than {_LONGEST} s, or was killed"
    if problem:
        raise SharedPathError(
            f"{shared} cannot get what flask_app_shared_paths names: {problem}. Move what is in the way, or give it to the app's user."
        )


def _become(owner: os.stat_result) -> None:
    """Make files as their owner. The process stays root's: the app, with whose rights it works, cannot stop or end it."""
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.setgroups([owner.st_gid])
        os.setgid(owner.st_gid)
        os.setresuid(0, owner.st_uid, 0)


def _provide(target: str, first: str, is_folder: bool) -> None:
    """Make one path, at once or not at all. What is there stays."""
    os.makedirs(target if is_folder else os.path.dirname(target), 0o750, exist_ok=True)
    if not os.path.lexists(first):
        return
    temporary = f"{target}.pygun-new"
    if is_folder:
        if os.listdir(target):
            return
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(first, temporary, symlinks=True)
        os.rename(temporary, target)  # takes the place of an empty folder only
    elif not os.path.lexists(target):
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
        shutil.copy(first, temporary)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, target)
        os.remove(temporary)
