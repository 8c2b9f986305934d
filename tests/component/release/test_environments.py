# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Packages are resolved once for a rollout and stored once on a host: with real installers, and an index that changes meanwhile."""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils import python_env, virtual_env
from ansible_collections.pygun.stack.plugins.module_utils.release import build as building
from ansible_collections.pygun.stack.plugins.module_utils.release import environments, installable
from ansible_collections.pygun.stack.plugins.module_utils.release.environments import Environments, Needed
from ansible_collections.pygun.stack.plugins.module_utils.release.package_lock import PackageLock
from ansible_collections.pygun.stack.plugins.module_utils.release.store import ReleaseStore
from tests.component.diagnosis import index
from tests.component.release.test_build import die, in_a_child
from tests.component.release.test_requirement_paths import BACKEND, PROJECT

PYTHON = ".".join(map(str, sys.version_info[:3]))
UV = shutil.which("uv")
# pip makes its environments slowly; tests/component/release/test_requirement_paths.py and test_build_account.py run it always.
INSTALLERS = ["uv", pytest.param("pip", marks=pytest.mark.full)]


class Host:
    """One host with one app, and the index that it installs from."""

    def __init__(self, place: Path, address: str, uv: str | None) -> None:
        self.place, self.address, self.uv = place, address, uv
        self.store = ReleaseStore(str(place))
        self.environments = Environments(str(place))

    def params(self, files: dict[str, str], **more) -> dict:
        self.place.mkdir(exist_ok=True)
        archive = self.place / "release.tar.gz"
        with tarfile.open(archive, "w:gz") as packed:
            for name, text in files.items():
                (self.place / "file").write_text(text)
                packed.add(self.place / "file", name)
        digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
        requirements = [name for name in files if name.startswith("requirements/")]
        needs = hashlib.sha256("".join(files[name] for name in requirements).encode()).hexdigest()
        options = {name: option.get("default") for name, option in python_env.INSTALLER_OPTIONS.items()}
        options.update(python=sys.executable, uv=self.uv, index_url=self.address, cache_dir=str(self.place / "cache"))
        given = {"name": "x", "content": digest, "needs": needs, "requirements": requirements, "archive": str(archive)}
        given.update(origin={}, service={}, pygun_py_shown="", lock="", locks={}, upgrade=[])
        given.update(
            packages=[],
            server_packages=[],
            overrides=[],
            shared_paths=[],
            app_python="",
            group=grp.getgrgid(os.getgid()).gr_name,
        )
        return {**options, **given, **more}

    def deploy(self, files: dict[str, str], first: building.Built | None = None, **more) -> building.Built:
        """Build the release; ``first`` is what another host of the run has built."""
        params = self.params(files, **more)
        if first:
            params["lock"] = first.lock.text
            params["locks"] = {building.plan(params, PYTHON, self.store).kind_of_host: first.lock.digest}
        return building.build(params, building.plan(params, PYTHON, self.store), PYTHON, self.store)

    def versions(self, built: building.Built) -> dict[str, str]:
        found = virtual_env.installed(os.path.join(self.store.path(built.release), "venv"))
        return {name: version for name, version in found.items() if name not in ("pip", "setuptools")}

    def venv(self, built: building.Built) -> str:
        return os.path.realpath(os.path.join(self.store.path(built.release), "venv"))


@pytest.fixture(name="packages")
def packages_fixture(tmp_path):
    folder = tmp_path / "packages"
    folder.mkdir()
    index.wheel(folder, "plain")
    index.wheel(folder, "other")
    return folder


@pytest.fixture(name="new_host")
def new_host_fixture(tmp_path, packages):
    if not UV:
        pytest.skip("there is no uv on the path")
    with index.served(packages) as address:
        yield lambda name="one", uv=UV: Host(tmp_path / name, address, uv)


def test_a_lock_is_for_hosts_with_the_same_last_part_of_the_python_version(tmp_path):
    """As that of redis, which needs async-timeout before 3.11.3, a marker may ask for it. A host goes on with what it has."""
    host = Host(tmp_path, "http://127.0.0.1:9", UV)
    params = host.params({})
    kinds = [building.plan(params, python, host.store) for python in ("3.11.2", "3.11.9")]
    params["locks"] = {kinds[0].kind_of_host: "digest"}
    found = [building.plan(params, python, host.store).packages for python in ("3.11.2", "3.11.9")]
    assert found == [building.GIVEN, building.RESOLVED]
    assert kinds[0].inputs == kinds[1].inputs


RUNTIME = {"pygun.py": "", "lib/pygun_runtime/launch.py": ""}
APP = {**RUNTIME, "src/wsgi.py": "app = 1\n", "requirements/app.txt": "plain\nother\n"}
LATER = {**APP, "src/wsgi.py": "app = 2\n"}


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_packages_are_compiled_and_their_tests_are_not(new_host, packages, installer):
    index.wheel(packages, "large", files=["big/__init__.py", "big/testing.py", "big/tests/test_big.py", "test/one.py"])
    host = new_host(uv=UV if installer == "uv" else None)
    venv = Path(host.venv(host.deploy({**APP, "requirements/app.txt": "large\n"})))
    compiled = {path.name.partition(".")[0] for path in venv.rglob("*.pyc")}
    assert {"large", "__init__", "testing"} <= compiled
    assert not {"test_big", "one"} & compiled


@pytest.mark.parametrize("installer", INSTALLERS)
def test_hosts_of_a_rollout_are_equal_though_the_index_gets_a_version_meanwhile(new_host, packages, installer):
    uv = UV if installer == "uv" else None
    first = new_host("first", uv).deploy(APP)
    index.wheel(packages, "plain", version="2.0")
    second, apart = new_host("second", uv), new_host("apart", uv)
    given = second.deploy(APP, first)
    assert (first.packages, given.packages) == ("resolved", "given")
    assert given.release == first.release
    assert second.versions(given) == {"plain": "1.0", "other": "1.0"}
    alone = apart.deploy(APP)
    assert apart.versions(alone)["plain"] == "2.0"
    assert alone.release != first.release
    assert all(package.hashes for package in first.lock.packages)


def test_a_file_that_is_not_the_one_of_the_lock_is_refused(new_host, packages):
    first = new_host("first").deploy(APP)
    (packages / "plain-1.0-py3-none-any.whl").unlink()
    index.wheel(packages, "plain", metadata="Summary: another one\n")
    with pytest.raises(python_env.InstallError, match=r"(?i)hash"):
        new_host("second").deploy(APP, first)


@pytest.mark.parametrize(
    ("installer", "form"),
    [("uv", "requirement"), ("uv", "project"), pytest.param("pip", "packages", marks=pytest.mark.full)],
)
def test_a_token_stands_in_no_file_of_root_and_all_hosts_install_with_it_also_later(
    tmp_path, packages, new_host, installer, form
):
    with index.served(packages, query="token=s3cret") as address:
        name = f"plain @ {address}/plain-1.0-py3-none-any.whl?token=s3cret"
        files, more = {**RUNTIME, "src/wsgi.py": ""}, {}
        if form == "packages":
            more = {"packages": [name]}
        elif form == "requirement":
            files["requirements/app.txt"] = f"{name}\n"
        else:
            files["requirements/folders.txt"] = "common @ file://${PROJECT_ROOT}/libs/common\n"
            files["src/libs/common/backend.py"] = BACKEND.replace("plain", name)
            files["src/libs/common/pyproject.toml"] = f"{PROJECT}# {name}\n"
        uv = UV if installer == "uv" else None
        first = new_host("first", uv).deploy(files, **more)
        second, later = new_host("second", uv), {**files, "src/wsgi.py": "app = 2\n"}
        given = second.deploy(files, first, **more)
        assert (given.release, second.versions(given)["plain"]) == (first.release, "1.0")
        shutil.rmtree(second.place / "environments")
        shutil.rmtree(second.place / "cache", ignore_errors=True)
        assert second.versions(second.deploy(later, **more))["plain"] == "1.0"
    assert "s3cret" not in first.lock.text
    made = [path for path in (tmp_path / "second").rglob("*") if path.name in ("lock.txt", "release.json")]
    assert made
    assert [path for path in made if "s3cret" in path.read_text()] == []


@pytest.mark.parametrize("installer", INSTALLERS)
def test_packages_whose_builds_run_code_are_named_and_the_projects_of_the_app_are_not(new_host, packages, installer):
    index.source(packages, "fromsource")
    library = {
        f"src/libs/common/{name}": text for name, text in {"pyproject.toml": PROJECT, "backend.py": BACKEND}.items()
    }
    folders = {"requirements/folders.txt": "common @ file://${PROJECT_ROOT}/libs/common\n"}
    host = new_host("one", UV if installer == "uv" else None)
    built = host.deploy({**APP, **library, **folders, "requirements/app.txt": "plain\nfromsource\n"})
    assert host.versions(built) == {"common": "1.0", "plain": "1.0", "fromsource": "1.0"}
    assert built.from_source == ("fromsource",)


def test_packages_that_are_resolved_alone_leave_nothing_and_are_then_installed(new_host, packages):
    host = new_host()
    params = host.params(APP, resolution="only")
    alone = building.resolve(params, building.plan(params, PYTHON, host.store), PYTHON, host.store)
    assert os.listdir(host.store.releases) == _names(host) == []
    index.wheel(packages, "plain", version="2.0")
    built = host.deploy(APP, alone, resolution="done")
    assert (built.lock, built.packages, host.versions(built)["plain"]) == (alone.lock, "resolved", "1.0")


def test_an_argument_of_the_installer_makes_another_environment_and_release(new_host):
    host = new_host()
    first, second = host.deploy(APP), host.deploy(APP, extra_args=["--no-cache"])
    assert host.venv(first) != host.venv(second)
    assert (first.lock, first.release != second.release) == (second.lock, True)


@pytest.mark.parametrize(("most", "stays"), [("1KB", False), ("100MB", True)])
def test_a_cache_above_its_limit_is_emptied_and_environments_do_not_miss_it(new_host, most, stays):
    host = new_host()
    built = host.deploy(APP, cache_max=most)
    assert (host.place / "cache").exists() == stays
    assert host.versions(built) == {"plain": "1.0", "other": "1.0"}
    code = "import plain, other"
    assert subprocess.run([f"{host.venv(built)}/bin/python", "-c", code], check=False).returncode == 0


def test_a_change_of_the_source_installs_nothing(new_host, packages, monkeypatch):
    host = new_host()
    first = host.deploy(APP)
    index.wheel(packages, "plain", version="2.0")
    monkeypatch.setattr(python_env.Installer, "_try", None)  # no installer is run
    second = host.deploy(LATER)
    assert second.packages == "kept"
    assert second.release != first.release
    assert host.venv(second) == host.venv(first)
    assert host.store.damage(second.release) == ""


@pytest.mark.parametrize("installer", INSTALLERS)
def test_a_host_that_cannot_get_what_the_others_have_says_how_all_resolve_again(new_host, packages, installer):
    first = new_host("first").deploy(APP)
    (packages / "plain-1.0-py3-none-any.whl").unlink()
    index.wheel(packages, "plain", version="2.0")
    with pytest.raises(python_env.InstallError) as refused:
        new_host("second", UV if installer == "uv" else None).deploy(APP, first)
    assert "other hosts of this run have plain==1.0 from before" in refused.value.cause
    assert "flask_app_upgrade=true" in refused.value.remedy


def test_an_upgrade_resolves_again_and_makes_a_release_only_if_something_changes(new_host, packages):
    host = new_host()
    first = host.deploy(APP)
    again = host.deploy(APP, upgrade=["true"])
    assert (again.release, again.exists) == (first.release, True)
    assert host.store.ids() == [first.release]
    for name in ("plain", "other"):
        index.wheel(packages, name, version="2.0")
    shutil.rmtree(host.place / "cache")  # uv asks an index every ten minutes
    one = host.deploy(APP, upgrade=["Other"])
    assert (host.versions(one), one.packages) == ({"plain": "1.0", "other": "2.0"}, "resolved")
    everything = host.deploy(APP, upgrade=["true"])
    assert host.versions(everything) == {"plain": "2.0", "other": "2.0"}
    assert len({first.release, one.release, everything.release}) == 3
    assert host.versions(first) == {"plain": "1.0", "other": "1.0"}
    assert host.deploy(LATER).lock == everything.lock


def test_what_a_host_once_had_and_nobody_has_any_more_is_resolved_again(new_host, packages):
    host = new_host()
    first = host.deploy(APP)
    (packages / "plain-1.0-py3-none-any.whl").unlink()
    index.wheel(packages, "plain", version="2.0")
    for name in ("environments", "cache"):
        shutil.rmtree(host.place / name)
    assert host.store.damage(first.release) == "has lost its virtual environment"
    second = host.deploy(LATER)
    assert (second.packages, host.versions(second)["plain"]) == ("resolved", "2.0")
    assert second.warning.startswith("The packages of the release before cannot be installed again")


@pytest.mark.parametrize("point", ["resolved", "create", "install", "sync", "mark", "link", "release.json"])
def test_a_build_that_is_killed_leaves_nothing_that_counts(new_host, monkeypatch, point):
    host = new_host()
    with monkeypatch.context() as killed:
        if point in ("create", "install"):
            killed.setattr(python_env.Installer, point, die)
        elif point == "resolved":
            killed.setattr(building, "release_id", _second_time(building.release_id))
        elif point == "sync":
            killed.setattr(environments.subprocess, "run", die)
        elif point == "mark":
            killed.setattr(environments, "write_atomically", die)
        elif point == "link":
            killed.setattr(Environments, "link", die)
        else:
            killed.setattr(building, "_metadata", die)
        assert in_a_child(lambda: host.deploy(APP)) == 9
    assert host.store.ids() == []
    host.store.recover()
    host.environments.recover()
    assert os.listdir(host.store.releases) == []
    made = point in ("resolved", "link", "release.json")
    assert [host.environments.is_usable(name) for name in _names(host)] == ([True] if made else [])
    built = host.deploy(APP)
    assert host.versions(built) == {"plain": "1.0", "other": "1.0"}
    assert len(_names(host)) == 1


def _second_time(function):
    calls = []

    def either(*arguments):
        calls.append(arguments)
        return die() if len(calls) > 1 else function(*arguments)

    return either


def _names(host) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return os.listdir(host.environments.folder)
    return []


def test_an_environment_goes_when_no_release_has_it_and_no_process(new_host):
    host = new_host()
    first, second = host.deploy(APP), host.deploy({**APP, "requirements/app.txt": "plain\n"})
    assert host.environments.prune() == []
    venv = host.venv(first)
    process = subprocess.Popen([f"{venv}/bin/python", "-c", "import time; time.sleep(60)"])
    try:
        host.store.remove(first.release)
        assert host.environments.prune() == []
    finally:
        process.kill()
        process.wait()
    assert [os.path.join(host.environments.folder, name, "venv") for name in host.environments.prune()] == [venv]
    assert host.store.damage(second.release) == ""
    [name] = _names(host)
    os.unlink(os.path.join(host.environments.path(name), "environment.json"))
    assert not host.environments.is_usable(name)


def test_another_interpreter_of_the_same_version_is_another_environment_and_release(new_host, tmp_path):
    """Its extension modules may differ, and whoever removes the former one must not take a release along."""
    other = tmp_path / "python3"
    other.touch()
    params = new_host().params(APP)
    link, moved = (
        {**params, "python": str(tmp_path / "link")},
        {**params, "python": str(other), "app_python": str(other)},
    )
    (tmp_path / "link").symlink_to(sys.executable)
    one, same, another = (Needed(given, "", PYTHON).name(PackageLock(())) for given in (params, link, moved))
    assert one == same != another
    assert building.release_id(params, PYTHON, "") != building.release_id(moved, PYTHON, "")


def test_a_host_that_cannot_install_what_another_one_has_resolved_says_so(new_host, tmp_path, monkeypatch):
    monkeypatch.setattr(installable.shutil, "which", lambda _name: None)
    params = new_host().params(APP, packages=["x @ git+https://h/x"])
    with pytest.raises(python_env.InstallError) as refused:
        Needed(params, "", PYTHON).install(PackageLock(()), str(tmp_path / "venv"), None)
    assert "this host has no git" in refused.value.cause


def test_what_a_project_of_the_source_asks_for_needs_a_hash_where_each_package_does(new_host, packages):
    library = {"src/libs/common/pyproject.toml": PROJECT, "src/libs/common/backend.py": BACKEND}
    lock = {
        name: f"{name}==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"
        for name in ("plain", "other")
        for wheel in packages.glob(f"{name}-1.0-*")
    }
    app = {**RUNTIME, **library, "requirements/folders.txt": "common @ file://${PROJECT_ROOT}/libs/common\n"}
    host = new_host()
    with pytest.raises(python_env.InstallError, match=r"plain==1\.0 would come without a hash"):
        host.deploy({**app, "requirements/app.txt": f"--require-hashes\n{lock['other']}"}, require_hashes=True)
    files = {**app, "requirements/app.txt": f"--require-hashes\n{lock['other']}{lock['plain']}"}
    whole = host.deploy(files, require_hashes=True)
    assert host.versions(whole) == {"common": "1.0", "plain": "1.0", "other": "1.0"}


def test_a_release_of_before_keeps_its_own_environment(new_host):
    """It has no lock: packages are resolved, and a rollback finds it as it was."""
    host = new_host()
    old = Path(host.store.path("f" * 16))
    python_env.Installer(uv=UV).create(str(old / "venv"), sys.executable)
    for name in ("release.json", *RUNTIME):
        (old / name).parent.mkdir(parents=True, exist_ok=True)
        (old / name).write_text('{"id": "ffffffffffffffff"}')
    built = host.deploy(APP)
    assert built.packages == "resolved"
    assert host.environments.prune() == []
    assert host.store.damage(old.name) == ""
    assert set(host.store.ids()) == {old.name, built.release}


def test_a_package_of_the_source_is_shared_only_while_its_files_are_equal(new_host):
    host = new_host()
    library = {
        f"src/libs/common/{name}": text for name, text in {"pyproject.toml": PROJECT, "backend.py": BACKEND}.items()
    }
    app = {**APP, **library, "requirements/app.txt": "common @ file://${PROJECT_ROOT}/libs/common\n"}
    first, second = host.deploy(app), host.deploy({**app, "src/wsgi.py": "app = 2\n"})
    third = host.deploy({**app, "src/libs/common/more.py": ""})
    assert (second.packages, third.packages) == ("kept", "kept")
    assert host.venv(first) == host.venv(second) != host.venv(third)
    assert host.versions(third) == {"common": "1.0", "plain": "1.0"}
    assert "file://${PROJECT_ROOT}/libs/common" in first.lock.text
