"""rollback.yml asks every host before it touches one, and does not guess for a host that does not answer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SERVING, BAD = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"


@pytest.fixture
def roll_back(tmp_path):
    """The playbook on this machine, where a release did not pass its gate once, and on a host that nobody can reach."""
    (tmp_path / "hosts").write_text(
        "[api]\nhere ansible_connection=local\ngone ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1\n"
        f"[api:vars]\nansible_become=false\nansible_python_interpreter={sys.executable}\n"
        f"flask_app_name=scoring\nflask_app_base_dir={tmp_path}\n"
    )
    app = tmp_path / "scoring"
    app.mkdir()
    (app / "current").symlink_to(f"releases/{SERVING}")
    (app / "state.json").write_text(json.dumps({"failed": {BAD: {"step": "roll"}}}))

    def run(*options):
        environ = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        environ.update(ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), PYTHONUTF8="1", HOME=str(tmp_path))
        environ.update(ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".cache" / "collections"))
        done = subprocess.run(
            [Path(sys.executable).with_name("ansible-playbook"), "-i", tmp_path / "hosts", "pygun.stack.rollback", *options],
            capture_output=True, text=True, check=False, env=environ, cwd=tmp_path, timeout=120,
        )  # fmt: skip
        assert done.returncode, "there is nothing to go back to"
        return " ".join((done.stdout + done.stderr).split())

    run.place = tmp_path
    return run


def test_a_host_that_cannot_be_asked_keeps_the_others_from_going_back(roll_back):
    said = roll_back()
    assert "gone cannot be asked, so it is unknown where the newest rollout came. Nothing was changed." in said
    assert "Activate the earlier release" not in said


def test_a_host_on_which_a_release_has_failed_once_can_be_asked(roll_back):
    said = roll_back("--limit", "here")
    assert "cannot be asked" not in said
    assert "TASK [Activate the earlier release]" in said


@pytest.mark.parametrize("options", [[], ["-e", f"flask_app_release={SERVING}", "-e", "flask_app_name="]], ids=str)
def test_without_a_name_the_apps_of_the_host_are_told(roll_back, options):
    hosts = roll_back.place / "hosts"
    hosts.write_text(hosts.read_text().replace("flask_app_name=scoring\n", ""))
    said = roll_back("--limit", "here", *options)
    assert "Name the app: -e flask_app_name=NAME. Apps on this host: scoring. Nothing was changed." in said
    assert "Finalization" not in said
    assert "TASK [Read which releases were in service]" not in said
