# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The real module refuses a source for another Python when it is first asked: nothing has been sent by then."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN_MODULE = Path(__file__).parents[1] / "run_module.py"


def asked(tmp_path, **given):
    given = {
        "name": "app",
        "root": str(tmp_path / "app"),
        "group": "root",
        "python": sys.executable,
        "content": "x",
        **given,
    }
    done = subprocess.run(
        [sys.executable, str(RUN_MODULE), "release"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": given}),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert not (tmp_path / "app").exists()
    return json.loads(done.stdout)


def test_a_source_for_another_python_is_refused_before_anything_is_sent(tmp_path):
    answer = asked(tmp_path, pythons=[["pyproject.toml, project.requires-python", ">=3.99"]])
    assert answer["failed"]
    assert answer["msg"].startswith("pyproject.toml, project.requires-python is for Python >=3.99, and this host")
    assert answer["msg"].endswith("Nothing was changed.")


@pytest.mark.parametrize("python", ["3.98", "/usr/bin/python3.98"])
def test_a_check_of_a_fresh_host_does_not_need_the_python_that_a_deploy_would_install(tmp_path, python):
    wanted = [["pyproject.toml, project.requires-python", ">=3.98.3"]]
    assert asked(tmp_path, app_python=python, pythons=wanted, files={"pygun.py": "file:0"})["failed"]
    given = {"app_python": python, "files": {"pygun.py": "file:0"}, "_ansible_check_mode": True}
    assert asked(tmp_path, pythons=wanted, **given)["changed"]
    wanted[0][1] = ">=3.99"
    assert "is for Python >=3.99" in asked(tmp_path, pythons=wanted, **given)["msg"]
