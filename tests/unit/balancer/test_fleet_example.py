"""The fleet of the guide and of inventory/example has its certificate where it says, whatever playbook is run."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
SPECS = sorted(ROOT.glob("roles/*/meta/argument_specs.yml"))


def check_variables(place, inventory):
    """The first thing that the role does with its variables, from a playbook that is somewhere else; what is said."""
    (place / "elsewhere").mkdir()
    (place / "elsewhere" / "check.yml").write_text(
        "- hosts: balancers\n  gather_facts: false\n  roles:\n"
        "    - {role: pygun.stack.checks, checks_role: load_balancer}\n"
    )
    environ = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    environ.update(ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), PYTHONUTF8="1", HOME=str(place))
    environ.update(ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".cache" / "collections"))
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, place / "elsewhere" / "check.yml"],
        capture_output=True, text=True, check=False, env=environ, cwd=place, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_the_certificate_of_the_guides_fleet_is_found_beside_the_inventory(tmp_path):
    guide = (ROOT / "docs" / "docsite" / "rst" / "fleet.rst").read_text()
    blocks = re.findall(r"^\.\. code-block:: yaml\n\n((?:    .*\n|\n)+)", guide, re.MULTILINE)
    (fleet,) = [textwrap.dedent(block) for block in blocks if "\n    balancers:" in block]
    (tmp_path / "inventory.yml").write_text(fleet)
    status, said = check_variables(tmp_path, "inventory.yml")
    assert status and "scoring.example.com.pem" in said, "there is no such file yet"
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "scoring.example.com.pem").write_text("a certificate")
    shutil.rmtree(tmp_path / "elsewhere")
    status, said = check_variables(tmp_path, "inventory.yml")
    assert status == 0, said


def descriptions(entry):
    """The texts of a role and of its options, and of theirs."""
    own = entry.get("description", [])
    yield from [own] if isinstance(own, str) else own
    for option in entry.get("options", {}).values():
        yield from descriptions(option)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.parents[1].name)
def test_no_markup_of_a_role_ends_at_a_parenthesis_of_its_own_text(path):
    """ansible-doc takes the first one for the end, and the READMEs know no backslash before it."""
    for text in descriptions(yaml.safe_load(path.read_text())["argument_specs"]["main"]):
        assert not [shown for shown in re.findall(r"\b[COV]\(([^)]*)\)", text) if "(" in shown], text
