# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host's Python becomes another one: environments and releases are made anew, and none is left broken.

With two real interpreters; skipped where the machine has one alone.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils import virtual_env

RUN_MODULE = Path(__file__).parents[1] / "run_module.py"
UV = shutil.which("uv")  # quicker than pip, which does as well
OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"


def another_python():
    """An interpreter of another minor version that can make virtual environments."""
    for minor in range(9, 15):
        installed = sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3.{minor}"), reverse=True)
        for candidate in [shutil.which(f"python3.{minor}"), *installed]:
            if f"3.{minor}" != OWN and candidate:
                done = subprocess.run([candidate, "-c", "import ensurepip"], capture_output=True, check=False)
                if done.returncode == 0:
                    return str(candidate)
    return None


@pytest.fixture(scope="module", name="other")
def other_fixture():
    found = another_python()
    if not found:
        pytest.skip("this machine has one Python alone")
    return found


@pytest.fixture(name="wheelhouse")
def wheelhouse_fixture(tmp_path):
    """A wheel for every Python: a tool of one module."""
    folder = tmp_path / "wheelhouse"
    folder.mkdir()
    info = "Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n"
    with zipfile.ZipFile(folder / "tool-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tool.py", "VALUE = 1\n")
        wheel.writestr("tool-1.0.dist-info/METADATA", info)
        wheel.writestr("tool-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tool-1.0.dist-info/RECORD", "")
    return folder


def run_module(module, check=False, **parameters):
    arguments = {**parameters, "_ansible_check_mode": check, "_ansible_diff": True}
    done = subprocess.run(
        [sys.executable, str(RUN_MODULE), module],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}), capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )  # fmt: skip
    return json.loads(done.stdout)


def venv(path, python, wheelhouse, requirement="tool==1.0", check=False):
    given = {"path": str(path), "python": python, "requirements": [requirement], "wheelhouse": str(wheelhouse)}
    return run_module("venv", check, **given, uv=UV)


def imports(path):
    code = "import sys, tool; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([path / "bin" / "python", "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def test_a_tools_environment_follows_the_python_of_the_host(tmp_path, wheelhouse, other):
    path = tmp_path / "tools" / "tool"
    path.parent.mkdir()
    assert venv(path, other, wheelhouse)["changed"]
    assert imports(path) not in ("", OWN)

    assert venv(path, sys.executable, wheelhouse, check=True)["changed"]
    assert imports(path) not in ("", OWN)
    assert venv(path, sys.executable, wheelhouse)["changed"]
    assert imports(path) == OWN
    assert not venv(path, sys.executable, wheelhouse)["changed"]
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["tool", "venv.lock"]

    # What a new Python lacks the wheels for goes on as it was.
    failed = venv(path, other, wheelhouse, "tool==2.0")
    assert failed["failed"]
    assert "no tool==2.0" in failed["msg"]
    assert imports(path) == OWN
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["tool", "venv.lock"]


def test_an_environment_whose_python_is_gone_or_another_is_made_anew(tmp_path, wheelhouse, other):
    path = tmp_path / "tool"
    venv(path, sys.executable, wheelhouse)
    assert virtual_env.usable(path)
    link = path / "bin" / "python"
    for target in ("/nowhere/python3", other):  # gone; and what an upgrade of the distribution does to /usr/bin/python3
        link.unlink()
        link.symlink_to(target)
        assert not virtual_env.usable(path)
        assert venv(path, sys.executable, wheelhouse, check=True)["changed"]
        assert venv(path, sys.executable, wheelhouse)["changed"]
        assert virtual_env.usable(path)
        assert imports(path) == OWN


def test_an_interpreter_that_is_not_there_changes_nothing(tmp_path, wheelhouse):
    path = tmp_path / "tool"
    venv(path, sys.executable, wheelhouse)
    refused = venv(path, "/nowhere/python3", wheelhouse)
    assert refused["failed"]
    assert "python_interpreter" in refused["msg"]
    assert imports(path) == OWN


def test_a_new_python_gives_a_new_release_and_a_release_without_its_python_does_not_count(tmp_path, other):
    def ask(python):
        return run_module("release", name="app", root=str(tmp_path), group="root", python=python, content="same")

    first, second = ask(sys.executable), ask(other)
    assert first["release"] != second["release"]
    folder = Path(first["path"])
    (folder / "venv" / "bin").mkdir(parents=True)
    (folder / "release.json").write_text('{"id": "' + first["release"] + '"}')
    (folder / "lib" / "pygun_runtime").mkdir(parents=True)
    for name in ("pygun.py", "lib/pygun_runtime/launch.py"):
        (folder / name).touch()
    (folder / "venv" / "pyvenv.cfg").write_text(f"version = {OWN}.0\n")
    (folder / "venv" / "bin" / "python").symlink_to(sys.executable)
    assert ask(sys.executable)["exists"]
    (folder / "venv" / "bin" / "python").unlink()
    (folder / "venv" / "bin" / "python").symlink_to(other)
    assert not ask(sys.executable)["exists"]
