# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files of a release that the host fetches, such as a model: each is found by its sha256, whatever it is fetched from.

If a former release has the file, it is linked: both releases are root's, and never written to. Otherwise the build account fetches it, root
takes it over and compares the digest, and the account unpacks it, if it is an archive. Lent or fetched, it comes into the source at the
end of a build, when nothing of the packages runs any more: no package can change it, and none is built with it.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess

from ..host import build_account
from ..host.atomic import remove_tree
from ..host.build_account import InstallError
from . import fetcher
from .contents import link_or_copy
from .differences import manifest_of

#: Where the files are until they come into the source; the control node sends them there to a host without a network.
FOLDER = "fetched"
#: Seconds that one file may take.
_TIMEOUT = 3 * 3600


class AppFiles:
    """The files of one release.

    wanted: each with path (below src/), sha256 and unarchive
    requests: path -> url and headers, which may be secret
    """

    def __init__(self, wanted, requests=None, python="", environment=None, account=None):
        self.wanted, self.requests = wanted, requests
        self.python, self.environment, self.account = python, environment, account
        self.ready = {}

    def fetch(self, release_path, store, former):
        """Have all of them ready in a folder of the release.

        former: signature -> place, of the files that former releases hold
        """
        folder = os.path.join(release_path, FOLDER)
        if not self.wanted:
            return
        known = {**former, **unpacked(self.wanted, store)}
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o711)  # the account works in folders of its own below it
        for number, file in enumerate(self.wanted):
            target = os.path.join(folder, f"{number}.ready")
            origin = known.get(signature(file), "")
            if os.path.isdir(origin):
                shutil.copytree(origin, target, ignore=_links_in, copy_function=link_or_copy)
            elif origin:
                link_or_copy(origin, target)
            else:
                self._obtain(file, folder, number, target)
            self.ready[file["path"]] = os.path.basename(target)

    def place(self, release_path):
        """Move them into the source, which belongs to root by now."""
        source = os.path.join(release_path, "src")
        if not self.wanted:
            return
        os.makedirs(source, exist_ok=True)
        for path, ready in self.ready.items():
            *folders, name = path.split("/")
            here = source
            for folder in folders:  # a package may have put a link there when it was built
                here = os.path.join(here, folder)
                if not os.path.lexists(here):
                    os.mkdir(here, 0o755)
                elif not stat.S_ISDIR(os.lstat(here).st_mode):
                    raise InstallError(f"flask_app_files names {path}, and {here} is no directory.")
            target = os.path.join(here, name)
            if os.path.lexists(target):
                raise InstallError(f"flask_app_files names {path}, and the build of a package has made such a file.")
            os.rename(os.path.join(release_path, FOLDER, ready), target)
        remove_tree(os.path.join(release_path, FOLDER))

    def _obtain(self, file, folder, number, target):
        """Fetch it, unless the control node has sent it, and unpack it."""
        work = os.path.join(folder, f"{number}.work")
        self._own(work)
        got = os.path.join(folder, file["sha256"])
        if not os.path.exists(got):
            got = os.path.join(work, "file")
            self._run(file, {**self.requests[file["path"]], "target": got})
            build_account.take_over(work, self.account)
        found, other = fetcher.sha256_of(got), fetcher.looks_like(got)
        address = fetcher.shown(self.requests[file["path"]]["url"])
        if found != file["sha256"]:
            raise InstallError(
                f"{address} has the sha256 {found}, and flask_app_files ({file['path']}) wants {file['sha256']}."
                f" {other or 'Correct the one that is wrong: the file behind an address may have changed.'}"
            )
        if fetcher.is_pointer(got):
            raise InstallError(f"{address} is not the file of flask_app_files ({file['path']}). {other}")
        os.chmod(got, 0o644)
        if file["unarchive"]:
            archive, got = got, os.path.join(folder, f"{number}.unpacked", "files")
            os.chmod(work, 0o711)
            self._own(os.path.dirname(got))
            self._run(file, {"archive": archive, "target": got})
            build_account.take_over(os.path.dirname(got), self.account)
            os.rename(got, target)
        else:
            link_or_copy(got, target)  # two entries may have the same content
        remove_tree(work)

    def _own(self, folder):
        if self.account:
            build_account.own_folder(folder, self.account)
        else:
            os.mkdir(folder, 0o700)

    def _run(self, file, told):
        command = [self.python, "-IS", "-c", _program()]
        environment = {**self.environment, fetcher.VARIABLE: json.dumps(told)}
        try:
            done = build_account.run(command, self.account, environment, _TIMEOUT, network="url" in told)
        except subprocess.TimeoutExpired:
            raise InstallError(
                f"{file['path']} (flask_app_files) was not there within {_TIMEOUT // 3600} hours."
            ) from None
        if done.returncode:
            said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise InstallError(f"{file['path']} (flask_app_files) cannot be had: {said[0]}")


def unpacked(wanted, store, without=""):
    """The paths of archives' contents in complete releases, by signature.

    without: a release that is to be built in its place, and can lend nothing
    """
    found = {}
    archives = [file for file in wanted if file["unarchive"]]
    for release in store.ids() if archives else ():
        manifest, root = manifest_of(store, release), os.path.realpath(store.path(release))
        for file in archives if release != without else ():
            place = os.path.join(root, "src", file["path"])
            if manifest.get(f"src/{file['path']}") == signature(file) and os.path.realpath(place) == place:
                found.setdefault(signature(file), place)
    return {each: place for each, place in found.items() if os.path.isdir(place)}


def signature(file):
    """The manifest's entry of such a file; plugin_utils/pack.py writes the same for a packed one."""
    return f"{'archive' if file['unarchive'] else 'file'}:{file['sha256']}"


def _links_in(folder, names):
    """No archive has brought one: it is of a shared path, and leads to what the app can write."""
    return [name for name in names if os.path.islink(os.path.join(folder, name))]


def _program():
    """The text of fetcher.py, also out of the zip archive in which Ansible sends it."""
    return fetcher.__loader__.get_source(fetcher.__name__)
