# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A source with a lock file and a file of an address, for hosts that have a wheelhouse in place of a network.

With a real Ansible, and two hosts at the same time: one resolves the packages, and both install them side by side.
"""

from __future__ import annotations

import getpass
import grp
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.host import build_account
from tests.component.diagnosis import index

ROOT = Path(__file__).parents[3]
MODEL = b"weights\n"
SHA256 = hashlib.sha256(MODEL).hexdigest()
APPS = ("offline-one", "offline-two")
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Build
      pygun.stack.release:
        name: "{{ inventory_hostname }}"
        root: "{{ place }}/{{ inventory_hostname }}"
        group: "{{ group }}"
        src: "{{ place }}/app/"
        server_packages: [server==1.0]
        pygun_py: "bind = 'x'"
        runtime: "{{ repository }}/roles/flask_app/files/pygun_runtime"
        python: /usr/bin/python3
        uv: "{{ uv or omit }}"
        wheelhouse: "{{ place }}/wheels"
        extra_files: [{path: model.bin, url: "{{ address }}/model.bin", sha256: "{{ sha256 }}"}]
      register: built
    - name: Show
      ansible.builtin.copy:
        content: "{{ built | to_json }}"
        dest: "{{ place }}/{{ inventory_hostname }}.json"
      check_mode: false
"""
POETRY = """
[[package]]
name = "plain"
version = "1.0"
optional = false
python-versions = ">=3.8"
groups = ["main"]
files = [{file = "plain-1.0-py3-none-any.whl", hash = "sha256:DIGEST"}]
[metadata]
lock-version = "2.1"
python-versions = ">=3.9"
content-hash = "x"
"""
UV = """
requires-python = ">=3.9"
[[package]]
name = "scoring"
version = "1.0"
source = { virtual = "." }
dependencies = [{ name = "plain" }]
[[package]]
name = "plain"
version = "1.0"
source = { registry = "https://pypi.org/simple" }
wheels = [{ url = "https://h/plain-1.0-py3-none-any.whl", hash = "sha256:DIGEST" }]
"""
PROJECTS = {
    "poetry.lock": (POETRY, "[tool.poetry]\npackage-mode = false\n[tool.poetry.dependencies]\npython = '>=3.9'\nplain = '*'\n"),
    "uv.lock": (UV, "[project]\nname = 'scoring'\nversion = '1.0'\nrequires-python = '>=3.9'\ndependencies = ['plain']\n"),
}  # fmt: skip


@pytest.fixture(name="place")
def place_fixture():
    """A folder that every account can enter."""
    folder = Path(tempfile.mkdtemp(prefix="pygun-offline-"))
    folder.chmod(0o755)
    for name in ("app", "wheels", "files", *APPS):
        (folder / name).mkdir()
    yield folder
    shutil.rmtree(folder)
    for name in APPS if os.geteuid() == 0 else ():
        subprocess.run(["userdel", build_account.name_for(name)], check=False, capture_output=True)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "uv.lock" else pytest.mark.full) for name in PROJECTS]
)
def test_a_lock_and_a_file_of_an_address_reach_hosts_without_a_network(place, name):
    uv = "" if name == "poetry.lock" else shutil.which("uv") or ""  # pip takes longer
    for wheel in ("plain", "server"):
        index.wheel(place / "wheels", wheel)
    lock, project = PROJECTS[name]
    digest = hashlib.sha256((place / "wheels" / "plain-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    (place / "files" / "model.bin").write_bytes(MODEL)
    for file, text in ((name, lock.replace("DIGEST", digest)), ("pyproject.toml", project), ("wsgi.py", "app = 1\n")):
        (place / "app" / file).write_text(text)
    (place / "hosts").write_text("\n".join(APPS))
    (place / "play.yml").write_text(PLAY)
    group = grp.getgrgid(os.getgid()).gr_name

    def run(*options, address="http://127.0.0.1:9"):
        variables = {"place": str(place), "repository": str(ROOT), "uv": uv, "address": address, "sha256": SHA256}
        variables.update(group=group, ansible_connection="local", ansible_python_interpreter=sys.executable)
        environ = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        environ.update(ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), HOME=str(place), USER=getpass.getuser())
        environ.update(ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".cache" / "collections"), ANSIBLE_FORKS="2")
        command = [Path(sys.executable).with_name("ansible-playbook"), "-i", place / "hosts", place / "play.yml"]
        command += ["-e", json.dumps(variables), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads((place / f"{app}.json").read_text()) for app in APPS], done.stdout

    before, said = run("--check", "--diff")
    assert [answer["changed"] for answer in before] == [True, True]
    assert "packages asked for" in said
    assert "+plain==1.0" in said and "+server==1.0" in said
    with index.served(place / "files") as address:
        built, said = run(address=address)
    assert sorted(answer["packages"] for answer in built) == ["given", "resolved"]
    assert len({answer["release"] for answer in built}) == 1
    for answer in built:
        assert Path(answer["path"], "src", "model.bin").read_bytes() == MODEL
        assert f"plain==1.0 --hash=sha256:{digest}\nserver==1.0" in Path(answer["path"], "lock.txt").read_text()
    assert f"Packages are those of {name}" in said
    for options in ((), ("--check", "--diff")):  # the address is not there any more
        again, said = run(*options)
        assert [(answer["changed"], answer["release"]) for answer in again] == [
            (False, answer["release"]) for answer in built
        ]
        assert "packages asked for" not in said
