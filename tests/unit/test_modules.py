# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What holds for every module that is given secrets, or makes files for others."""

import json
import os
import stat
import subprocess
import sys
import textwrap

import pytest

SECRET = 'DB="hunter2-\\very-secret"\nTOKEN=hunter2\n'
ENV_FILE = {"path": "/nowhere/app.env", "content": SECRET}
GIVEN = {
    "release": {
        "name": "app",
        "root": "/nowhere",
        "group": "root",
        "activation": {"name": "app", "env_file": ENV_FILE},
    },
    "activate": {"name": "app", "release": "current", "root": "/nowhere", "env_file": ENV_FILE},
    "host": {"files": [{"path": "/nowhere/x", "secret_content": SECRET, "owner": "root", "group": "root"}]},
    "programs": {
        "scope": "test",
        "conf_dir": "/nowhere",
        "programs": [{"name": "a", "command": "/bin/true", "user": "root", "environment": {"DB": SECRET}}],
    },
    "venv": {"path": "/nowhere", "requirements": ["x"], "extra_args": ["--extra-index-url=https://me:hunter2@host/"]},
}

RUN = """
import json, sys, syslog
from ansible.module_utils import basic
basic.has_journal = False
told = []
syslog.syslog = lambda *words: told.append(str(words[-1]))
sys.argv = ["", sys.argv[1]]
try:
    exec(open(sys.argv[0] or {run!r}).read())
except SystemExit:
    pass
with open({told!r}, "w") as stream:
    json.dump(told, stream)
"""


@pytest.mark.parametrize("name", GIVEN)
def test_the_hosts_log_is_told_that_a_module_ran_and_no_secret(tmp_path, name):
    told = tmp_path / "told"
    here = os.path.dirname(__file__)
    script = textwrap.dedent(RUN).format(run=os.path.join(here, "run_module.py"), told=str(told))
    given = {**GIVEN[name], "_ansible_check_mode": True, "_ansible_no_log": False}
    subprocess.run(
        [sys.executable, "-c", script, name],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": given}),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said = json.loads(told.read_text())
    assert any("Invoked" in line for line in said), "nothing was logged: this test sees nothing"
    assert "hunter2" not in "\n".join(said)


def test_a_root_whose_umask_is_strict_makes_directories_that_others_can_enter(tmp_path):
    from tests.unit.host.test_host import RUN as MODULE
    from tests.unit.host.test_host import wanted

    subprocess.run(
        ["sh", "-c", f"umask 077; exec {sys.executable} {MODULE} host"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": wanted(tmp_path / "below")}),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    for path in (tmp_path / "below", tmp_path / "below" / "deep"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
