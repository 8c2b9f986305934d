"""What outlives a release: the links of a real build, and what root makes for the app in a folder that the app can change."""

import json
import os
import pwd
import sqlite3
import subprocess
import sys
import tarfile

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.release import build, shared_paths
from ansible_collections.pygun.stack.plugins.module_utils.release.package_lock import PackageLock
from ansible_collections.pygun.stack.plugins.module_utils.release.store import ReleaseStore

RELEASE = "0123456789abcdef"


@pytest.fixture
def release(tmp_path):
    """The folder of a release with the links, made as a build makes them."""

    def make(*paths, name=RELEASE, **files):
        folder = tmp_path / "releases" / name
        (folder / "src").mkdir(parents=True)
        for path, content in files.items():
            place = folder / path.replace("__", "/").replace("_dot_", ".")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(content)
        shared_paths.link(str(folder), paths)
        (folder / "release.json").write_text(json.dumps({"shared_paths": list(paths)}))
        return folder

    (tmp_path / "shared").mkdir(mode=0o750)
    return make


def test_a_build_makes_the_links_and_keeps_one_to_a_path_of_the_host(tmp_path):
    (tmp_path / "wsgi.py").write_text("app = None\n")
    (tmp_path / "media").symlink_to("/mnt/nas")
    archive = tmp_path / "release.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(tmp_path / "wsgi.py", "src/wsgi.py")
        packed.add(tmp_path / "media", "src/media")
        packed.add(tmp_path / "wsgi.py", "shared/instance/first")
    params = dict.fromkeys(("name", "content", "pygun_py_shown"), "x")
    params.update(
        dict.fromkeys(("requirements", "packages", "server_packages", "overrides", "extra_args"), ()),
        origin={},
        service={},
    )
    params.update(
        archive=str(archive), group="root", shared_paths=["instance/"], uv="", python=sys.executable, app_python=""
    )
    without = {**params, "shared_paths": []}
    assert build.release_id(params, "3.11", "") != build.release_id(without, "3.11", "")
    store, nothing = ReleaseStore(str(tmp_path)), PackageLock(())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "_install", lambda *arguments: "f" * 16)
        build.build(params, build.Plan(RELEASE, "", nothing.digest, nothing, build.KEPT), "3.11", store)
    folder = tmp_path / "releases" / RELEASE
    assert os.readlink(folder / "src" / "instance") == "../../../shared/instance"
    assert os.readlink(folder / "src" / "media") == "/mnt/nas"
    (tmp_path / "shared").mkdir()
    shared_paths.provide(str(folder))
    assert (folder / "src" / "instance" / "first").read_text() == "app = None\n"


def test_the_first_content_is_copied_once_and_nothing_is_overwritten(release, tmp_path):
    first = release("data/", "a/app.db", shared__data__x="1", shared__a__app_dot_db="one")
    shared_paths.provide(str(first))
    assert (first / "src" / "data" / "x").read_text() == "1"
    assert (first / "src" / "a" / "app.db").read_text() == "one"
    (first / "src" / "data" / "x").write_text("mine")
    second = release(
        "data/", "a/app.db", name="f" * 16, shared__data__x="2", shared__data__y="2", shared__a__app_dot_db="2"
    )
    shared_paths.provide(str(second))
    assert sorted(os.listdir(second / "src" / "data")) == ["x"]
    assert (second / "src" / "data" / "x").read_text() == "mine"
    assert (second / "src" / "a" / "app.db").read_text() == "one"
    assert sorted(os.listdir(tmp_path / "shared")) == ["a", "data"]


def test_an_sqlite_file_has_its_journal_next_to_the_real_one(release, tmp_path):
    folder = release("app.db")
    shared_paths.provide(str(folder))
    with sqlite3.connect(folder / "src" / "app.db") as database:
        database.execute("PRAGMA journal_mode=wal")
        database.execute("CREATE TABLE x (y)")
        assert {"app.db", "app.db-wal"} <= set(os.listdir(tmp_path / "shared"))
    assert os.listdir(folder / "src") == ["app.db"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which an app could mislead")
def test_root_follows_no_link_of_the_app(release, tmp_path):
    nobody = pwd.getpwnam("nobody")
    for folder in (tmp_path, *tmp_path.parents):
        if str(folder).startswith("/tmp/"):
            os.chmod(folder, 0o755)
    os.chown(tmp_path / "shared", nobody.pw_uid, nobody.pw_gid)
    target = tmp_path / "of-root"
    target.mkdir()
    (tmp_path / "shared" / "data").symlink_to(target)
    folder = release("data/x/", shared__data__x__y="1")
    with pytest.raises(shared_paths.SharedPathError, match="Permission denied"):
        shared_paths.provide(str(folder))
    assert os.listdir(target) == []
    (tmp_path / "shared" / "data").unlink()
    shared_paths.provide(str(folder))
    assert os.stat(tmp_path / "shared" / "data" / "x" / "y").st_uid == nobody.pw_uid
    subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", "touch", folder / "src/data/x/y"], check=True)


@pytest.mark.parametrize("in_the_way", ["link", "folder"])
def test_what_a_build_has_left_in_the_way_is_refused(tmp_path, in_the_way):
    source = tmp_path / "releases" / RELEASE / "src"
    source.mkdir(parents=True)
    if in_the_way == "link":
        (source / "a").symlink_to("/etc")
    else:
        (source / "a" / "b").mkdir(parents=True)
    with pytest.raises(shared_paths.SharedPathError, match="flask_app_shared_paths"):
        shared_paths.link(str(source.parent), ["a/b/"])
    assert not os.path.lexists("/etc/b")
