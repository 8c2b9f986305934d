# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A package comes from a git repository behind a login, and no user of the host sees the login in the list of processes."""

from __future__ import annotations

import subprocess

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.release import git_logins
from ansible_collections.pygun.stack.plugins.module_utils.release.environments import Needed
from tests import git_server
from tests.component.diagnosis import index
from tests.component.release.test_environments import APP, INSTALLERS, UV, Host


def repository(place, name):
    index.source(place, name)
    subprocess.run(["tar", "-xf", f"{name}-1.0.tar.gz"], cwd=place, check=True)
    folder = place / f"{name}-1.0"
    for command in (
        ["init", "-q", "-b", "main"],
        ["add", "-A"],
        ["commit", "-qm", "one"],
        ["clone", "-q", "--bare", ".", f"../{name}.git"],
    ):
        subprocess.run(["git", "-C", folder, "-c", "user.name=t", "-c", "user.email=t@t", *command], check=True)
    subprocess.run(["git", "-C", place / f"{name}.git", "update-server-info"], check=True)


@pytest.mark.parametrize("installer", INSTALLERS)
def test_a_login_of_a_repository_reaches_the_server_and_no_process_list(tmp_path, installer):
    if installer == "uv" and not UV:
        pytest.skip("there is no uv on the path")
    for name in ("own", "more"):
        repository(tmp_path, name)
    with git_server.serving(tmp_path, {"own.git": "m@e:s3cr/t", "more.git": "s3cret:"}) as server:
        place = f"127.0.0.1:{server.server_port}"
        host = Host(tmp_path / "host", f"http://{place}/simple", UV if installer == "uv" else None)
        files = {**APP, "requirements/app.txt": "-c constraints.txt\n", "requirements/constraints.txt": "own<2\n"}
        files["requirements/app.txt"] += f"own @ git+http://m%40e:s3cr%2Ft@{place}/own.git@main\n"
        built = host.deploy(files, packages=[f"more @ git+http://s3cret@{place}/more.git"])
    assert host.versions(built) == {"own": "1.0", "more": "1.0"}
    assert any(b"remote-http" in one for one in server.seen)
    assert not any(b"s3cr" in one for one in server.seen)
    assert "s3cr" not in built.lock.text and "***" not in built.lock.text


def test_a_login_of_an_override_is_known_when_the_packages_are_installed(tmp_path):
    host = Host(tmp_path / "host", "", UV)
    needed = Needed(host.params({}, overrides=["x @ git+https://me:s3cret@h/x.git"]), str(tmp_path), "3.11.2")
    assert needed.of_git["PYGUN_GIT_0_PASSWORD"] == "s3cret"
    assert needed.logins.restored("x", "https://***@h/x.git?a") == "https://me:s3cret@h/x.git?a"


def test_texts_without_such_a_login_need_nothing():
    texts = ["x @ https://me:s3cret@h/x.whl", "x @ git+ssh://git@h/x.git", "x==1"]
    assert (git_logins.environment(texts), list(map(git_logins.without, texts))) == ({}, texts)
    given = git_logins.environment(["x @ git+https://a:b@h/t/x.git@feature/1#subdirectory=y ; z"], 3)
    assert (given["GIT_CONFIG_COUNT"], given["GIT_CONFIG_KEY_3"]) == ("6", "credential.https://h/t/x.git.helper")
