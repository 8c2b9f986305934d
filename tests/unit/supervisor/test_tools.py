# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The tools that run on a host without Ansible find there what they import, and nothing of it outlives an uninstall."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.pygun.stack.plugins.module_utils.uninstall import footprint

ROLE = Path(__file__).parents[3] / "roles" / "supervisor"
TOOLS = "{{ python_tools_dir }}/"
WRITTEN = [
    entry["path"].removeprefix(TOOLS)
    for entry in yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["__supervisor_files"]
    if entry["path"].startswith(TOOLS)
]


@pytest.mark.parametrize("tool", ["end_orphans.py", "memory_guard.py"])
def test_a_tool_imports_what_the_role_writes_beside_it(tmp_path, tool):
    for name in (name for name in WRITTEN if name.endswith(".py")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROLE / "files" / name, tmp_path / name)
    code = "import runpy, sys; print(sorted(runpy.run_path(sys.argv[1], run_name='tool')))"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-I", "-c", code, tmp_path / tool], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "app_programs" in done.stdout or "program_of" in done.stdout
    assert not list(tmp_path.rglob("__pycache__"))


def test_every_copy_is_the_modules_own_file():
    for name in WRITTEN:
        if "/" in name:
            source = ROLE.parents[1] / "plugins" / "module_utils" / name.partition("/")[2]
            assert os.path.samefile(ROLE / "files" / name, source)


def test_an_uninstall_knows_every_tool():
    names = {name.partition("/")[0] for name in WRITTEN} - {"supervisord.py"}
    assert names <= {*footprint._TOOLS, *footprint._SCRIPTS}


def test_the_guard_is_restarted_when_any_file_that_it_imports_changes():
    code = yaml.safe_load((ROLE.parent / "flask_app" / "vars" / "main.yml").read_text())["__flask_app_guard_code"]
    patterns = [pattern[1:] for pattern in re.findall(r"'(/[^']+\.py)'", code)]
    watched = {str(path.relative_to(ROLE / "files")) for one in patterns for path in (ROLE / "files").glob(one)}
    assert watched == {name for name in WRITTEN if "/" in name} | {"memory_guard.py"}
