# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A build that fails or is killed leaves what stood there, and nothing that only looks whole."""

import grp
import os
import stat
import sys
import tarfile

import pytest

from ansible_collections.pygun.stack.plugins.module_utils import python_env
from ansible_collections.pygun.stack.plugins.module_utils.host.lock import held
from ansible_collections.pygun.stack.plugins.module_utils.release import build, contents
from ansible_collections.pygun.stack.plugins.module_utils.release.package_lock import PackageLock
from ansible_collections.pygun.stack.plugins.module_utils.release.store import ReleaseStore
from ansible_collections.pygun.stack.plugins.modules import venv
from tests.component.supervised import outcome, start_module

RELEASE = "0123456789abcdef"
NOTHING = PackageLock(())
PLAN = build.Plan(RELEASE, "", NOTHING.digest, NOTHING, build.KEPT)
RUN = os.path.join(os.path.dirname(os.path.dirname(__file__)), "run_module.py")


@pytest.fixture
def store(tmp_path):
    return ReleaseStore(str(tmp_path))


@pytest.fixture
def params(tmp_path):
    (tmp_path / "wsgi.py").write_text("app = None\n")
    archive = tmp_path / "release.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(tmp_path / "wsgi.py", "src/wsgi.py")
    given = dict.fromkeys(("name", "content", "pygun_py_shown"), "x")
    given.update(uv=None, upgrade=[])
    given.update(
        dict.fromkeys(("requirements", "packages", "server_packages", "overrides", "shared_paths"), ()),
        origin={},
        service={},
    )
    return {**given, "archive": str(archive), "group": grp.getgrgid(os.getgid()).gr_name}


def standing(store):
    """A release whose interpreter is gone: it is built anew in its place."""
    folder = store.path(RELEASE)
    os.makedirs(folder)
    for name in ("release.json", "old"):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as stream:
            stream.write("{}")


def in_a_child(work):
    """Its exit code."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die(*_arguments, **_options):
    os._exit(9)


def die_at(function, path):
    """What unpacking does with the files in it goes on."""

    def either(name, *arguments, **options):
        return die() if name == path else function(name, *arguments, **options)

    return either


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(build, "_install", lambda *_arguments: "f" * 16)
    monkeypatch.setattr(build, "_compile", lambda *_arguments: None)


def test_a_release_counts_only_when_its_group_can_read_it(store, params, quick, monkeypatch):
    if os.geteuid():
        pytest.skip("needs root")
    with monkeypatch.context() as killed:
        killed.setattr(os, "chown", die_at(os.chown, store.path(RELEASE)))
        assert in_a_child(lambda: build.build(params, PLAN, "3.11.2", store)) == 9
    assert not store.is_complete(RELEASE)
    store.recover()
    build.build(params, PLAN, "3.11.2", store)
    assert store.is_complete(RELEASE)
    assert stat.S_IMODE(os.stat(store.path(RELEASE)).st_mode) == 0o750


def test_what_stood_there_comes_back_when_a_rebuild_fails(store, params, quick, monkeypatch):
    standing(store)

    def install(*_arguments):
        raise python_env.InstallError("no index")

    monkeypatch.setattr(build, "_install", install)
    monkeypatch.setattr(build, "_resolve", install)
    with pytest.raises(python_env.InstallError):
        build.build(params, PLAN, "3.11.2", store)
    assert sorted(os.listdir(store.releases)) == [RELEASE]
    assert sorted(os.listdir(store.path(RELEASE))) == ["old", "release.json"]


@pytest.mark.parametrize("point", ["unpack", "_install", "record", "chmod"])
def test_what_stood_there_comes_back_after_a_rebuild_that_was_killed(store, params, quick, monkeypatch, point):
    if point == "chmod" and os.geteuid():
        pytest.skip("needs root")
    standing(store)
    with monkeypatch.context() as killed:
        if point == "chmod":
            killed.setattr(os, "chmod", die_at(os.chmod, store.path(RELEASE)))
        else:
            killed.setattr(build if point == "_install" else contents.Contents, point, die)
        assert in_a_child(lambda: build.build(params, PLAN, "3.11.2", store)) == 9
    assert not os.path.exists(os.path.join(store.path(RELEASE), "old"))
    store.recover()
    assert sorted(os.listdir(store.releases)) == [RELEASE]
    assert sorted(os.listdir(store.path(RELEASE))) == ["old", "release.json"]


def test_a_release_that_another_run_has_built_meanwhile_is_not_built_in_its_place(store, params, monkeypatch):
    """It may be in service by then."""
    standing(store)
    monkeypatch.setattr(store, "damage", lambda _release: "")
    assert build.build(params, PLAN, "3.11.2", store) == build.Built(RELEASE, NOTHING, build.KEPT, exists=True)
    assert sorted(os.listdir(store.path(RELEASE))) == ["old", "release.json"]


def test_a_rebuild_that_succeeds_leaves_nothing_else(store, params, quick):
    if os.geteuid():
        pytest.skip("needs root")
    standing(store)
    build.build(params, PLAN, "3.11.2", store)
    assert os.listdir(store.releases) == [RELEASE]
    assert "old" not in os.listdir(store.path(RELEASE))


def test_the_good_environment_outlives_a_kill_and_a_failure(tmp_path):
    """The kill left it set aside, beside one that is half-made; then the index is down."""
    tools, aside = tmp_path / "supervisor", tmp_path / "supervisor.before"
    (tools / "bin").mkdir(parents=True)
    (aside / "bin").mkdir(parents=True)
    (aside / "bin" / "supervisord").write_text("good\n")
    (tmp_path / "wheels").mkdir()
    given = {"path": str(tools), "requirements": ["supervisor==4.3.0"], "python": sys.executable}
    done = outcome(start_module([sys.executable, RUN, "venv"], {**given, "wheelhouse": str(tmp_path / "wheels")}))
    assert done["failed"]
    assert (tools / "bin" / "supervisord").read_text() == "good\n"
    assert not aside.exists()


def test_two_runs_do_not_make_the_environment_of_a_tool_at_once(tmp_path):
    """The second one would undo what the first has set aside, and end its installer. When it gets its turn, nothing is left to do."""
    tools = tmp_path / "uv"
    (tmp_path / "uv.before" / "bin").mkdir(parents=True)  # of the first, which works
    given = {"path": str(tools), "requirements": ["uv==1"], "python": sys.executable, "timeout": 1}
    with held(str(tmp_path / venv.LOCK), 0):
        done = outcome(start_module([sys.executable, RUN, "venv"], given))
    assert done["failed"] and "Another run has been installing" in done["msg"]
    assert (tmp_path / "uv.before").exists()
    assert stat.S_IMODE(os.stat(tmp_path / venv.LOCK).st_mode) == 0o600
