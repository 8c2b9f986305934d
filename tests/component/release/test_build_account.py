# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a package brings runs as an account that has nothing, and leaves root nothing but files.

With the distribution's interpreter and a real change of user, for which the tests have to be root's.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import socket
import stat
import subprocess
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils import python_env, virtual_env
from ansible_collections.pygun.stack.plugins.module_utils.host import build_account
from ansible_collections.pygun.stack.plugins.module_utils.host.build_account import Account, InstallError
from ansible_collections.pygun.stack.plugins.module_utils.release import build
from ansible_collections.pygun.stack.plugins.module_utils.release.store import ReleaseStore

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

PROVISIONAL = "0123456789abcdef"
PYTHON = "/usr/bin/python3"
#: Of nobody, and another one for each process that runs tests.
ACCOUNT = Account("pygun-build-of-the-tests", 61000 + os.getpid() % 3000, 61000 + os.getpid() % 3000)

#: What the code of a package sees, and a daemon that it leaves behind. Where it writes, everybody may.
WITNESS = """
import json, os, subprocess, sys
def may(path, mode):
    try:
        open(path, mode).close()
        return True
    except OSError:
        return False
def connected():
    import socket
    try:
        socket.create_connection(("127.0.0.1", {port}), 5).close()
        return True
    except OSError:
        return False
seen = {{"how": {how!r}, "ids": [*os.getresuid(), *os.getresgid()], "groups": os.getgroups(), "secret": may({secret!r}, "r"),
    "elsewhere": may({elsewhere!r}, "a"), "environment": dict(os.environ), "connected": connected()}}
with open({told!r}, "a") as stream:
    stream.write(json.dumps(seen) + "\\n")
subprocess.Popen([sys.executable, "-ISc", "import time; time.sleep(300)", {told!r}],
    start_new_session=True, stdin=-3, stdout=-3, stderr=-3)
"""


@pytest.fixture(name="place")
def place_fixture():
    """A folder that everybody can enter, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="pygun-build-account-"))
    folder.chmod(0o755)
    yield folder
    build_account.end_processes(ACCOUNT)
    shutil.rmtree(folder)


@pytest.fixture(name="listener")
def listener_fixture():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


class Site:
    """A wheel with a .pth file, an sdist with a setup.py, and what their code said of itself."""

    def __init__(self, place: Path, port: int) -> None:
        self.place = place
        self.told = place / "told"
        self.told.touch()
        self.told.chmod(0o666)
        self.secret = place / "app.env"
        self.secret.write_text("TOKEN=1\n")
        self.secret.chmod(0o640)
        self.packages = place / "packages"
        self.packages.mkdir()
        self.port = port
        self.wheel()
        self.sdist()

    def witness(self, how: str) -> str:
        elsewhere = str(self.place / "elsewhere")
        return WITNESS.format(
            how=how, secret=str(self.secret), elsewhere=elsewhere, told=str(self.told), port=self.port
        )

    def wheel(self, name: str = "startled", **more: str) -> None:
        info = f"{name}-1.0.dist-info"
        files = {
            f"{name}.py": self.witness("pth"),
            f"{name}.pth": f"import {name}\n",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            **more,
        }
        with zipfile.ZipFile(self.packages / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            for path, text in files.items():
                wheel.writestr(path, text)
            wheel.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in files) + f"{info}/RECORD,,\n")

    def sdist(self) -> None:
        """With a backend of its own, so that nothing else is needed."""
        backend = self.witness("setup") + (
            "import zipfile\n"
            "def build_wheel(folder, config_settings=None, metadata_directory=None):\n"
            "    name = 'built-1.0-py3-none-any.whl'\n"
            "    with zipfile.ZipFile(folder + '/' + name, 'w') as wheel:\n"
            "        wheel.writestr('built.py', '')\n"
            "        wheel.writestr('built-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: built\\nVersion: 1.0\\n')\n"
            "        wheel.writestr('built-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n"
            "        wheel.writestr('built-1.0.dist-info/RECORD', '')\n"
            "    return name\n"
        )
        source = self.place / "built-1.0"
        source.mkdir()
        (source / "setup_of_it.py").write_text(backend)
        (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: built\nVersion: 1.0\n")
        (source / "pyproject.toml").write_text(
            '[build-system]\nrequires = []\nbuild-backend = "setup_of_it"\nbackend-path = ["."]\n'
            '[project]\nname = "built"\nversion = "1.0"\n'
        )
        with tarfile.open(self.packages / "built-1.0.tar.gz", "w:gz") as packed:
            packed.add(source, "built-1.0")

    def seen(self) -> list[dict]:
        return [json.loads(line) for line in self.told.read_text().splitlines()]

    def daemons(self) -> list[str]:
        done = subprocess.run(["pgrep", "-f", str(self.told)], capture_output=True, text=True, check=False)
        return done.stdout.split()

    def params(self, uv: str | None, **more) -> dict:
        archive = self.place / "release.tar.gz"
        with tarfile.open(archive, "w:gz") as packed:
            for name in ("src/wsgi.py", "lib/pygun_runtime/__init__.py", "pygun.py"):
                file = self.place / "file"
                file.write_text("app = None\n")
                packed.add(file, name)
        given = dict.fromkeys(("name", "content"), "x")
        given.update(
            dict.fromkeys(("requirements", "overrides", "upgrade", "shared_paths"), []),
            origin={},
            service={},
            pygun_py_shown="",
            app_python="",
        )
        given.update(
            archive=str(archive),
            group=grp.getgrgid(os.getgid()).gr_name,
            packages=["startled"],
            server_packages=["built"],
        )
        options = {name: option.get("default") for name, option in python_env.INSTALLER_OPTIONS.items()}
        options.update(python=PYTHON, uv=uv, wheelhouse=str(self.packages), cache_dir=str(self.place / "cache"))
        return {**given, **options, **more}

    def build(self, uv: str | None, **more) -> Path:
        store = ReleaseStore(str(self.place / "app"))
        built = build.build(self.params(uv, **more), build.Plan(PROVISIONAL, ""), "3.11.2", store, ACCOUNT)
        return Path(store.path(built.release))


@pytest.fixture(name="site")
def site_fixture(place, listener):
    return Site(place, listener)


def entries(folder: Path):
    return [(path, path.lstat()) for path in (folder, *folder.rglob("*"))]


@pytest.mark.parametrize(
    "installer", ["uv", pytest.param("pip", marks=pytest.mark.full)]
)  # the scenario `offline` has it
def test_no_code_of_a_package_runs_as_root_and_none_goes_on(site, installer, monkeypatch):
    uv = shutil.which("uv") if installer == "uv" else None
    if installer == "uv" and not uv:
        pytest.skip("there is no uv on the path")
    monkeypatch.setenv("APP_SECRET", "of the play")
    release = site.build(uv)
    seen = site.seen()
    assert {one["how"] for one in seen} == {"setup"}
    for one in seen:
        assert one["ids"] == [ACCOUNT.uid] * 3 + [ACCOUNT.gid] * 3, one
        assert not set(one["groups"]) - {ACCOUNT.gid}
        assert not one["secret"]
        assert not one["elsewhere"]
        assert "APP_SECRET" not in one["environment"]
        assert one["environment"]["HOME"] == one["environment"]["TMPDIR"]
        assert one["environment"]["HOME"].endswith("/venv.build")
    assert site.daemons() == []
    environment = (release / "venv").resolve().parent
    assert environment.parent == site.place / "app" / "environments"
    made = entries(release) + entries(environment)
    assert {(status.st_uid, status.st_gid) for _path, status in made} == {(0, 0)}
    writable = [path for path, status in made if not path.is_symlink() and status.st_mode & 0o6022]
    assert writable == []
    assert stat.S_IMODE(environment.stat().st_mode) == 0o750
    assert sorted(os.listdir(environment)) == ["environment.json", "venv"]
    assert not (release / "resolution").exists()
    assert not (release / "venv" / ".lock").exists()
    assert (release / "lib/pygun_runtime/__pycache__").exists()
    assert (release / "src/__pycache__").exists()
    # Its cache is its own, and holds nothing of root's that would stand in the way of the next build.
    assert {status.st_uid for _path, status in entries(site.place / "cache" / ACCOUNT.name)} == {ACCOUNT.uid}
    assert stat.S_IMODE((site.place / "cache" / ACCOUNT.name).stat().st_mode) == 0o700
    site.told.write_text("")
    assert virtual_env.usable(str(release / "venv"))
    assert site.seen() == []


def test_a_build_from_wheels_reaches_no_network(site):
    if build_account.run(["true"], ACCOUNT, {}, 10, network=False).returncode or not _can_unshare():
        pytest.skip("no new namespaces here")
    site.build(shutil.which("uv"))
    assert not any(one["connected"] for one in site.seen())


def _can_unshare() -> bool:
    return subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0


def test_a_host_of_before_takes_the_next_release(site):
    """Its cache was root's, a release that root has made stands beside, and a build was killed with its processes alive."""
    (site.place / "cache" / "uv").mkdir(parents=True, mode=0o700)
    (site.place / "cache" / "uv" / ".lock").touch(0o666)
    store = ReleaseStore(str(site.place / "app"))
    old = Path(store.path("f" * 16))
    python_env.Installer(uv=shutil.which("uv")).create(str(old / "venv"), PYTHON)
    left = subprocess.Popen(["sleep", "300"], user=ACCOUNT.uid, group=ACCOUNT.gid, extra_groups=[])
    release = site.build(shutil.which("uv"))
    assert left.poll() is not None and not _of_the_account()
    assert virtual_env.usable(str(old / "venv"))
    assert virtual_env.usable(str(release / "venv"))
    assert not (site.place / "cache" / "uv").exists()


def test_what_the_account_cannot_reach_is_named_before_anything_is_installed(site):
    site.packages.chmod(0o700)
    with pytest.raises(InstallError, match=rf"{site.packages} is out of reach for {ACCOUNT.name}.*0700"):
        site.build(None)
    assert not os.listdir(site.place / "app" / "releases")


# -- what root takes over --------------------------------------------------------------------------------------------


@pytest.fixture(name="folder")
def folder_fixture(place):
    folder = place / "handed-over"
    (folder / "sub").mkdir(parents=True)
    build_account.hand_over(str(folder), ACCOUNT)
    return folder


def as_account(folder: Path, code: str):
    done = build_account.run([PYTHON, "-ISc", f"import os; os.chdir({str(folder)!r})\n{code}"], ACCOUNT, {}, 30)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("os.mkfifo('sub/pipe')", "pipe"),
        ("import socket; socket.socket(socket.AF_UNIX).bind('sub/socket')", "socket"),
        ("for _ in range(1500):\n    os.mkdir('d')\n    os.chdir('d')", "folder in a folder"),
    ],
)
def test_what_is_no_file_is_refused_and_can_be_removed(folder, code, words):
    as_account(folder, code)
    with pytest.raises(InstallError, match=words):
        build_account.take_over(str(folder), ACCOUNT)
    python_env.remove_tree(str(folder))
    assert not folder.exists()


def test_a_file_of_somebody_else_is_refused_and_stays_as_it_is(folder, place):
    precious = place / "precious"
    precious.write_text("of root")
    precious.chmod(0o600)
    os.link(precious, folder / "sub" / "linked")  # where fs.protected_hardlinks is 0, anybody can
    os.chown(precious, 65534, 65534)
    with pytest.raises(InstallError, match="belongs to nobody"):
        build_account.take_over(str(folder), ACCOUNT)
    assert (precious.stat().st_uid, stat.S_IMODE(precious.stat().st_mode)) == (65534, 0o600)


def test_links_are_not_followed_and_modes_lose_what_is_dangerous(folder, place):
    outside = place / "outside"
    outside.mkdir()
    (outside / "file").write_text("")
    before = [(status.st_uid, status.st_mode) for _path, status in entries(outside)]
    as_account(
        folder,
        f"os.symlink({str(outside)!r}, 'link'); os.symlink({str(outside / 'file')!r}, 'sub/link')\n"
        "open('tool', 'w').close(); os.chmod('tool', 0o6777); os.chmod('sub', 0o7777)",
    )
    build_account.take_over(str(folder), ACCOUNT)
    assert [(status.st_uid, status.st_mode) for _path, status in entries(outside)] == before
    assert {status.st_uid for _path, status in entries(folder)} == {0}
    assert stat.S_IMODE((folder / "tool").stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "sub").stat().st_mode) == 0o755
    assert (folder / "link").is_symlink()


def test_who_has_a_file_open_or_another_name_of_it_does_not_change_it_any_more(folder, place):
    cache = place / "of-the-account"
    cache.mkdir()
    os.chown(cache, ACCOUNT.uid, ACCOUNT.gid)
    as_account(
        folder,
        f"for name in ('open', 'linked'):\n    open(name, 'w').write('good'); os.utime(name, (1, 1))\n"
        f"os.link('linked', {str(cache / 'linked')!r})",
    )
    # As a program of another user does that was sent the descriptor.
    with open(folder / "open", "r+", encoding="utf-8") as still_open:
        build_account.take_over(str(folder), ACCOUNT)
        still_open.write("evil")
    as_account(cache, "open('linked', 'w').write('evil')")
    for name in ("open", "linked"):
        assert (folder / name).read_text() == "good"
        assert (folder / name).stat().st_mtime == 1
        assert (folder / name).stat().st_uid == 0
    assert (cache / "linked").stat().st_uid == ACCOUNT.uid


def test_a_process_in_a_namespace_of_its_own_ends_too(folder):
    code = (
        "import ctypes, time\nlibc = ctypes.CDLL(None)\n"
        "if libc.unshare(0x10000000 | 0x20000000):\n    os._exit(3)\n"
        "if os.fork() == 0:\n    open('alive', 'w').close()\n    time.sleep(300)\n"
        "while not os.path.exists('alive'):\n    time.sleep(0.01)"
    )
    done = build_account.run([PYTHON, "-ISc", f"import os; os.chdir({str(folder)!r})\n{code}"], ACCOUNT, {}, 30)
    if done.returncode == 3:
        pytest.skip("nobody but root may have namespaces here")
    assert (folder / "alive").exists()
    assert not _of_the_account()


def test_a_daemon_that_holds_the_output_does_not_hold_the_build(folder):
    code = "if os.fork() == 0:\n    os.setsid()\n    import time; time.sleep(300)\nprint('done')"
    begun = time.monotonic()
    as_account(folder, code)
    assert time.monotonic() - begun < 60
    assert not _of_the_account()


def test_a_daemon_that_holds_the_pipe_of_a_build_does_not_hold_its_installer(folder, monkeypatch):
    """uv and pip read what a package's build prints until all who could print have ended."""
    monkeypatch.setattr(build_account, "_LOOK_EVERY", 0.2)
    daemon = "import os, signal, time; os.fork() and os._exit(0); os.setsid(); signal.signal(15, 1); time.sleep(60)"
    busy = "import time; time.sleep(1); print('built')"  # the build goes on while its daemon runs
    code = (
        "import subprocess, sys\n"
        f"build = [sys.executable, '-c', 'import subprocess, sys; [subprocess.run([sys.executable, \"-c\", c]) for c in sys.argv[1:]]']\n"
        f"print(subprocess.run([*build, {daemon!r}, {busy!r}], stdout=subprocess.PIPE).stdout)"
    )
    begun = time.monotonic()
    done = build_account.run([PYTHON, "-ISc", code], ACCOUNT, {}, 20)
    assert (done.returncode, done.stdout) == (0, "b'built\\n'\n"), done.stderr
    assert 1 < time.monotonic() - begun < 10 and not _of_the_account()


def _of_the_account() -> list[str]:
    done = subprocess.run(["pgrep", "-U", str(ACCOUNT.uid)], capture_output=True, text=True, check=False)
    return done.stdout.split()


# -- what root believes ----------------------------------------------------------------------------------------------


def environment(place: Path, **settings: str) -> Path:
    path = place / "venv"
    (path / "bin").mkdir(parents=True)
    (path / "pyvenv.cfg").write_text("version = 3.11.2\n")
    return path


def test_a_program_in_the_place_of_the_interpreter_is_not_run_as_root(place):
    told = place / "told"
    told.touch()
    told.chmod(0o666)
    evil = place / "evil"
    evil.write_text(f"#!/bin/sh\nid -u >> {told}\necho 3.11.2\n")
    evil.chmod(0o755)
    path = environment(place)
    (path / "bin" / "python").symlink_to(evil)
    virtual_env.usable(str(path))
    assert told.read_text() in ("", "65534\n")
    (path / "bin" / "python").unlink()
    shutil.copy(evil, path / "bin" / "python")
    told.write_text("")
    assert not virtual_env.usable(str(path))
    assert told.read_text() == ""


def test_settings_that_are_no_file_and_names_that_are_no_names_are_passed_over(place):
    path = environment(place)
    (path / "bin" / "python").symlink_to(PYTHON)
    (path / "pyvenv.cfg").unlink()
    (path / "pyvenv.cfg").symlink_to("/dev/zero")
    assert virtual_env.made_from(str(path)) is None
    (path / "pyvenv.cfg").unlink()
    os.mkfifo(path / "pyvenv.cfg")
    assert virtual_env.made_from(str(path)) is None
    outside = place / "outside" / "site-packages"
    outside.mkdir(parents=True)
    (path / "lib").mkdir()
    (path / "lib" / "python3.11").symlink_to(outside.parent)
    assert virtual_env.site_packages(str(path)) == []
    inside = path / "lib" / "python3.12" / "site-packages"
    inside.mkdir(parents=True)
    (inside / "good-1.0+local.dist-info").mkdir()
    (inside / "x-1\n--index-url=evil-1.dist-info").mkdir()
    assert virtual_env.installed(str(path)) == {"good": "1.0+local"}


# -- the accounts themselves -----------------------------------------------------------------------------------------


def test_each_app_has_an_account_of_a_name_that_the_system_takes():
    names = {build_account.name_for(app) for app in ("", "a", "a" * 20, "a" * 31, "a" * 30 + "b")}
    assert len(names) == 5
    assert max(map(len, names)) <= 32
    assert build_account.name_for("sample") == "pygun-build-sample"


def test_an_account_is_made_once_and_is_in_no_group_but_its_own():
    if not shutil.which("useradd"):
        pytest.skip("there is no useradd here")
    app = f"test{os.getpid()}"
    name = build_account.name_for(app)
    try:
        made = build_account.have(app)
        assert build_account.have(app) == made
        entry = pwd.getpwnam(name)
        assert (entry.pw_dir, entry.pw_shell) == ("/nonexistent", "/usr/sbin/nologin")
        assert os.getgrouplist(name, entry.pw_gid) == [entry.pw_gid]
        assert made in build_account.standing()
    finally:
        subprocess.run(["userdel", name], check=False)
    assert made not in build_account.standing()
