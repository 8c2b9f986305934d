# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A build that is killed with SIGKILL at any step, or has no room at any step: nothing half-made counts, and the next run makes it whole.

A step is whatever changes a file of the host or starts a program: Python's audit events name each before it happens.
`PYGUN_FULL=1` tries every step; otherwise some, spread over all.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils import python_env, virtual_env
from ansible_collections.pygun.stack.plugins.module_utils.host import build_account
from ansible_collections.pygun.stack.plugins.module_utils.host.build_account import Account
from ansible_collections.pygun.stack.plugins.module_utils.release import build as building
from ansible_collections.pygun.stack.plugins.module_utils.release.lock import Held, locked
from tests.component.diagnosis import index
from tests.component.release.test_build import in_a_child
from tests.component.release.test_environments import APP, LATER, UV, Host
from tests.component.release.test_requirement_paths import BACKEND, PROJECT

FULL = bool(os.environ.get("PYGUN_FULL"))
TRIED = 6
ROOM_TRIED = 24 if FULL else 4
IS_ROOT = os.geteuid() == 0
#: Of nobody, and another one for each process that runs tests.
NUMBER = 57000 + os.getpid() % 3000
ACCOUNT = Account("pygun-build-of-kills", NUMBER, NUMBER) if IS_ROOT else None
#: That of the distribution, which every account may run.
PYTHON = "/usr/bin/python3"
#: With a project in the source, which is built in it, a shared path, and an environment that is new.
PROJECT_FILES = {"src/libs/common/pyproject.toml": PROJECT, "src/libs/common/backend.py": BACKEND}
FOLDERS = {"requirements/folders.txt": "common @ file://${PROJECT_ROOT}/libs/common\n"}
NEXT = {**LATER, **PROJECT_FILES, **FOLDERS, "requirements/app.txt": "plain\nother\nmore\n"}
_CHANGES = {f"os.{name}" for name in "rename link symlink mkdir chmod chown remove rmdir truncate utime".split()}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
#: What differs between two builds of the same: times, and what names them.
_TIMES = ("built_at", "files.json", "environment.json", "release.json", "uv_cache.json", "RECORD", ".pyc")


class Site(Host):
    """A host whose packages an account of its own installs, as the module `release` has it done."""

    def run(self, files: dict[str, str], begun=lambda: None, **more) -> building.Built:
        params = self.params(files, shared_paths=["uploads"], python=PYTHON, **more)
        version = virtual_env.python_version(PYTHON)
        begun()
        with locked(str(self.place), "tester", patience=5):
            build_account.end_processes(ACCOUNT)
            self.store.recover()
            self.environments.recover()
            return building.build(params, building.plan(params, version, self.store), version, self.store, ACCOUNT)

    def check(self, *releases: str) -> None:
        """No release and no environment counts that is not whole."""
        for release in self.store.ids():
            assert release in releases
            assert self.store.damage(release) == ""
            name = os.path.basename(os.path.dirname(os.path.realpath(os.path.join(self.store.path(release), "venv"))))
            assert self.environments.is_usable(name)
        for name in os.listdir(self.environments.folder):
            if self.environments.is_usable(name):
                lock = self.environments.venv(name)
                assert {"plain", "other"} <= set(virtual_env.installed(lock)), name

    def tree(self) -> dict[str, tuple]:
        """Each file of releases and environments: kind, mode, owners and content."""
        found = {}
        for top in (self.store.releases, self.environments.folder):
            for folder, names, files in os.walk(top):
                for path in (os.path.join(folder, name) for name in (*names, *files)):
                    status, content = os.lstat(path), ""
                    if stat.S_ISLNK(status.st_mode):
                        content = os.readlink(path)
                    elif stat.S_ISREG(status.st_mode) and not path.endswith(_TIMES):
                        content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
                    name = os.path.relpath(path, self.place)
                    found[name] = (status.st_mode, status.st_uid, status.st_gid, content)
        return found


def killed_at(step: int, steps: Path | None = None):
    """Have this process killed before its step of this number, or its steps written into a file."""
    me, count = os.getpid(), 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal count
        is_step = event in _CHANGES or event == "subprocess.Popen"
        if event == "open":
            is_step = isinstance(arguments[2], int) and bool(arguments[2] & _WRITES) and arguments[0] != os.devnull
        if not is_step or os.getpid() != me or str(arguments[0]).endswith("steps"):
            return
        count += 1
        if steps:
            with steps.open("a") as stream:
                stream.write(f"{event} {arguments[:2]}\n")
        elif count == step:
            os.kill(me, signal.SIGKILL)

    sys.addaudithook(hook)


@pytest.fixture(name="place")
def place_fixture():
    """A small disk of its own, if there can be one: to write a large one out may take long. Everybody can enter it."""
    folder = Path(tempfile.mkdtemp(prefix="pygun-kills-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=96m,mode=755", "tmpfs", str(folder)]
    is_mounted = IS_ROOT and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    folder.chmod(0o755)
    yield folder
    build_account.end_processes(ACCOUNT)
    if is_mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
    shutil.rmtree(folder)


@pytest.fixture(name="site")
def site_fixture(place):
    if not UV:
        pytest.skip("there is no uv on the path")
    packages = place / "packages"
    packages.mkdir()
    for name in ("plain", "other", "more"):
        index.wheel(packages, name)
    with index.served(packages) as address:
        site = Site(place / "site", address, UV)
        site.place.mkdir(mode=0o755)
        yield site


@pytest.fixture(name="before")
def before_fixture(site):
    """The release that serves."""
    return site.run(APP).release


def _chosen(count: int) -> list[int]:
    return list(range(1, count + 1)) if FULL else [count * part // TRIED for part in range(1, TRIED)]


def test_a_build_that_is_killed_at_any_step_is_made_whole_by_the_next(site, before, tmp_path):
    served, trace = site.tree(), tmp_path / "steps"

    def traced():
        site.run(NEXT, lambda: killed_at(0, trace))
        os._exit(0)

    assert in_a_child(traced) == 0
    [release] = set(site.store.ids()) - {before}
    clean, steps = site.tree(), trace.read_text().splitlines()
    assert len(steps) > 60, "the walk sees what the build does"
    for step in _chosen(len(steps)):
        site.store.remove(release)
        site.environments.prune()
        assert site.tree() == served

        def walk(step=step):
            site.run(NEXT, lambda: killed_at(step))
            os._exit(0)

        code = in_a_child(walk)
        assert code in (-signal.SIGKILL, 0), steps[step - 1]
        site.check(before, release)
        assert {name: entry for name, entry in site.tree().items() if name in served} == served, steps[step - 1]
        assert site.run(NEXT).release == release
        assert site.tree() == clean, steps[step - 1]


def test_a_build_without_room_is_refused_with_a_sentence_wherever_it_ends(site, before, place):
    if not os.path.ismount(place):
        pytest.skip("only root can mount a small disk")
    served, free = site.tree(), _free(place)
    release = site.run(NEXT).release
    clean, needed = site.tree(), free - _free(place)
    refused = 0
    for part in range(ROOM_TRIED):
        site.store.remove(release)
        site.environments.prune()
        shutil.rmtree(site.place / "cache")
        with _filled(place) as room:
            try:
                site.run(NEXT, lambda part=part, room=room: room(needed * part // ROOM_TRIED))
            except (OSError, build_account.InstallError) as error:
                refused += 1
                assert python_env.explained(error).code == "disk-full", error
            else:
                assert part > ROOM_TRIED / 2, f"{part} of {ROOM_TRIED} parts of {needed} bytes were enough"
            site.check(before, release)
        assert {name: entry for name, entry in site.tree().items() if name in served} == served
        assert site.run(NEXT).release == release
        assert site.tree() == clean
    assert refused > ROOM_TRIED / 2


def _free(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


@contextlib.contextmanager
def _filled(path: Path):
    """What fills a disk but for some bytes; there is room again in the end."""
    filler = path / "filler"

    def room(but: int) -> None:
        with filler.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, max(4096, _free(path) - but))

    try:
        yield room
    finally:
        filler.unlink(missing_ok=True)


def test_of_two_deploys_that_build_the_same_environment_one_waits_for_nothing_and_is_refused(site, before):
    """The other one makes it; after that it is there for both."""
    begun, go_on = os.pipe(), os.pipe()

    def first():
        install = python_env.Installer.install

        def held(*arguments):
            os.write(begun[1], b"x")
            os.read(go_on[0], 1)
            return install(*arguments)

        python_env.Installer.install = held
        site.run(NEXT)
        os._exit(0)

    worker = threading.Thread(target=lambda: codes.append(in_a_child(first)))
    codes: list[int] = []
    worker.start()
    os.read(begun[0], 1)
    half_made = [name for name in os.listdir(site.environments.folder) if not site.environments.is_usable(name)]
    with pytest.raises(Held, match="started by tester"), locked(str(site.place), "another", patience=0):
        pass
    assert len(half_made) == 1
    assert site.store.ids() == [before]
    os.write(go_on[1], b"x")
    worker.join(60)
    assert codes == [0]
    [release] = set(site.store.ids()) - {before}
    assert site.run({**NEXT, "src/wsgi.py": "app = 3\n"}).packages == "kept"
    site.check(*site.store.ids())
    assert release in site.store.ids()
