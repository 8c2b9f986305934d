"""What a user gives to a playbook: it is named where one looks for it, and means what it means to a shell."""

import json
import os
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
SPECS = [yaml.safe_load(path.read_text()) for path in ROOT.glob("roles/*/meta/argument_specs.yml")]
#: Variables of the roles have pages of their own.
OF_ROLES = {name for spec in SPECS for name in spec["argument_specs"]["main"].get("options", {})}


def header(text):
    """The comment at the top of a playbook."""
    return re.match(r"---\n((#.*\n)*)", text)[1]


def own_variables(text):
    """The variables that a playbook reads and no role has."""
    code = re.sub(r"^ *#.*$", "", text, flags=re.MULTILINE)
    return set(re.findall(r"(?<![\w.])(?<!\| )([a-z]\w+) \| default\(", code)) - OF_ROLES


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_every_variable_of_a_playbook_is_named_at_its_top_and_on_the_page_of_the_playbooks(path):
    text, page = path.read_text(), (ROOT / "docs" / "docsite" / "rst" / "playbooks.rst").read_text()
    found = own_variables(text)
    assert found & {"flask_app_hosts", "load_balancer_hosts"}
    assert sorted(name for name in found if not re.search(rf"\b{name}\b", header(text))) == []
    assert sorted(name for name in found if not re.search(rf"\b{name}\b", page)) == []


def test_a_relative_status_file_is_where_the_command_was_given(tmp_path):
    (tmp_path / "hosts").write_text(
        f"[api]\nhere ansible_connection=local\n[api:vars]\nansible_become=false\nansible_python_interpreter={sys.executable}\n"
        f"supervisor_conf_dir={tmp_path}/none\nflask_app_base_dir={tmp_path}/none\n"
    )
    (tmp_path / "there").mkdir()
    environ = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_") and key != "PWD"}
    environ.update(ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), PYTHONUTF8="1", HOME=str(tmp_path))
    environ.update(ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".cache" / "collections"))
    beside_the_playbook = ROOT / "playbooks" / "test-status.json"
    for given, meant in (
        ("test-status.json", tmp_path / "there" / "test-status.json"),
        ("~/home-status.json", tmp_path / "home-status.json"),
    ):
        done = subprocess.run(
            [
                Path(sys.executable).with_name("ansible-playbook"), "-i", tmp_path / "hosts", "pygun.stack.status",
                "-e", f"status_file={given}",
            ],
            capture_output=True, text=True, check=False, env=environ, cwd=tmp_path / "there", timeout=120,
        )  # fmt: skip
        try:
            assert meant.exists(), done.stdout + done.stderr
            assert "here" in json.loads(meant.read_text())["hosts"]
        finally:
            beside_the_playbook.unlink(missing_ok=True)


def test_an_inventory_that_users_get_leads_to_nothing_that_they_do_not_get():
    ignored = yaml.safe_load((ROOT / "galaxy.yml").read_text())["build_ignore"]

    def left_out(path):
        names = [str(one) for one in (path, *path.parents)]
        return any(fnmatch(name, pattern) for name in names for pattern in ignored)

    found = 0
    for path in sorted((ROOT / "inventory").rglob("*.yml")):
        if left_out(path.relative_to(ROOT)):
            continue
        for target in re.findall(r"\{\{ inventory_dir \}\}/(\.\./[^\"' ]+)", path.read_text()):
            folder = path.parent if path.name == "hosts.yml" else path.parent.parent
            wanted = (folder / target).resolve()
            assert wanted.exists() and not left_out(wanted.relative_to(ROOT)), f"{path}: {target}"
            found += 1
    assert found
