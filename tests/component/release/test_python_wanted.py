# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The real module refuses a source for another Python when it is first asked: nothing has been sent by then."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

RUN_MODULE = Path(__file__).parents[1] / "run_module.py"


def test_a_source_for_another_python_is_refused_before_anything_is_sent(tmp_path):
    given = {"name": "app", "root": str(tmp_path / "app"), "group": "root", "python": sys.executable, "content": "x"}
    given["pythons"] = [["pyproject.toml, project.requires-python", ">=3.99"]]
    done = subprocess.run(
        [sys.executable, str(RUN_MODULE), "release"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": given}),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    answer = json.loads(done.stdout)
    assert answer["failed"]
    assert answer["msg"].startswith("pyproject.toml, project.requires-python is for Python >=3.99, and this host")
    assert answer["msg"].endswith("Nothing was changed.")
    assert not (tmp_path / "app").exists()
