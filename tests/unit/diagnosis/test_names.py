"""What a message tells to set, to run or to ask exists."""

import ast
import re

import pytest
import yaml

from plugins.plugin_utils.validation.names import OF_PLAYBOOKS
from tools.shell import ROOT

SPECS = [yaml.safe_load(path.read_text()) for path in ROOT.glob("roles/*/meta/argument_specs.yml")]
VARIABLES = {name for spec in SPECS for entry in spec["argument_specs"].values() for name in entry["options"]}
#: Names that begin like a variable, and are none.
OTHERS = {"python_env", "python_literal", "supervisor_rpc"}
OTHERS |= {"python_version", "python_full_version", "python_implementation"}  # of markers (PEP 508)
VARIABLE = re.compile(r"(?<![\w.$/<-])(?:flask_app|supervisor|load_balancer|python)_[a-z_]*[a-z]\b(?!\.py)")
NAME = re.compile(r"(?<!ansible_collections\.)\bpygun\.stack\.([a-z_]+)\b")
THINGS = {
    path.stem
    for pattern in ("playbooks/*.yml", "plugins/*/*.py", "plugins/*/*.yml")
    for path in ROOT.glob(pattern)
} | {path.name for path in ROOT.glob("roles/*")}  # fmt: skip


def texts(path):
    """What a Python file has in quotes; of any other file all of it."""
    if path.suffix != ".py":
        return [path.read_text()]
    return [
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


FILES = sorted(
    path
    for pattern in (
        "plugins/**/*.py",
        "roles/*/files/**/*.py",
        "roles/*/meta/argument_specs.yml",
        "playbooks/*.yml",
        "docs/docsite/rst/*.rst",
        "docs/*.md",
        "*.md",
    )
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_variables_and_playbooks_that_a_text_names_exist(path):
    for text in texts(path):
        unknown = {name for name in VARIABLE.findall(text) if name not in VARIABLES | OF_PLAYBOOKS | OTHERS}
        assert not {name for name in unknown if not any(known.startswith(f"{name}_") for known in VARIABLES)}
        assert not {name for name in NAME.findall(text) if name not in THINGS}
