# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What holds for every module that is given secrets, or makes files for others."""

import json
import stat
import sys

import pytest

from tests.component.host.test_host import RUN as MODULE
from tests.component.host.test_host import wanted
from tests.component.supervised import outcome, start_module

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
import json, runpy, syslog
from ansible.module_utils import basic
basic.has_journal = False
told = []
syslog.syslog = lambda *words: told.append(str(words[-1]))
try:
    runpy.run_path({run!r})
except SystemExit:
    pass
with open({told!r}, "w") as stream:
    json.dump(told, stream)
"""


@pytest.mark.parametrize("name", GIVEN)
def test_the_hosts_log_is_told_that_a_module_ran_and_no_secret(tmp_path, name):
    told = tmp_path / "told"
    script = RUN.format(run=str(MODULE), told=str(told))
    given = {**GIVEN[name], "_ansible_check_mode": True, "_ansible_no_log": False}
    start_module([sys.executable, "-c", script, name], given).communicate(timeout=60)
    said = json.loads(told.read_text())
    assert any("Invoked" in line for line in said), "nothing was logged: this test sees nothing"
    assert "hunter2" not in "\n".join(said)


def test_an_answer_may_have_the_name_of_a_file_that_is_no_text(tmp_path):
    given = {**GIVEN["release"], "root": str(tmp_path), "files": {"src/caf\udce9\n.txt": "file:0"}, "activation": None}
    answer = outcome(start_module([sys.executable, MODULE, "release"], {**given, "_ansible_check_mode": True}))
    assert answer["diff"]["after"] == "src/caf\\udce9\\n.txt file:0\n"
    json.dumps(answer, ensure_ascii=False).encode()  # Ansible refuses an answer that is no UTF-8


def test_a_root_whose_umask_is_strict_makes_directories_that_others_can_enter(tmp_path):
    command = ["sh", "-c", f"umask 077; exec {sys.executable} {MODULE} host"]
    assert not outcome(start_module(command, wanted(tmp_path / "below"))).get("failed")
    for path in (tmp_path / "below", tmp_path / "below" / "deep"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
