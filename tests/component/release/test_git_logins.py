# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A package comes from a git repository behind a login, and no user of the host sees the login in the list of processes."""

from __future__ import annotations

import base64
import contextlib
import http.server
import subprocess
import threading
from functools import partial
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.release import git_logins
from ansible_collections.pygun.stack.plugins.module_utils.release.environments import Needed
from tests.component.diagnosis import index
from tests.component.release.test_environments import APP, INSTALLERS, UV, Host

LOGINS = {"/own.git": "m@e:s3cr/t", "/more.git": "s3cret:"}


class Server(http.server.SimpleHTTPRequestHandler):
    """Bare repositories, each with a login of its own; sees what every user of the machine sees of the processes meanwhile."""

    def do_GET(self):
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                self.server.seen.append(path.read_bytes())
        login = LOGINS[f"/{self.path.split('/')[1]}"]
        if self.headers["Authorization"] == "Basic " + base64.b64encode(login.encode()).decode():
            super().do_GET()
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic realm=git")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_what):
        pass


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
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=str(tmp_path))) as server:
        server.seen = []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        place = f"127.0.0.1:{server.server_port}"
        host = Host(tmp_path / "host", f"http://{place}/simple", UV if installer == "uv" else None)
        files = {**APP, "requirements/app.txt": "-c constraints.txt\n", "requirements/constraints.txt": "own<2\n"}
        files["requirements/app.txt"] += f"own @ git+http://m%40e:s3cr%2Ft@{place}/own.git@main\n"
        built = host.deploy(files, packages=[f"more @ git+http://s3cret@{place}/more.git"])
        server.shutdown()
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
