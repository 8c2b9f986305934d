"""The commands that the guide to daily operation and README show exist as they show them."""

import re
from pathlib import Path

import pytest
from supervisor.supervisorctl import DefaultControllerPlugin

ROOT = Path(__file__).parents[3]
GUIDES = ROOT / "docs" / "docsite" / "rst"
GUIDE = (GUIDES / "daily_operation.rst").read_text()
README = (ROOT / "README.md").read_text()
EVERY_DAY = README.partition("\n## Every day\n")[2].partition("\n## ")[0]
ROWS = re.findall(r"^   \* - (.*)$", GUIDE, re.MULTILINE)
COMMANDS = [*re.findall(r"``([^`]+)``", GUIDE), *re.findall(r"`([^`]+)`", EVERY_DAY)]
PLAYBOOKS = [command for command in COMMANDS if command.startswith("pygun.stack.")]
#: What the tutorials of supervisor teach.
TAUGHT = ("start", "status", "tail", "reload", "restart one", "stop", "force restart")


def test_every_command_of_the_tutorial_has_its_row():
    for word in TAUGHT:
        assert any(row.startswith(word) for row in ROWS), word
    assert "systemd_service" in GUIDE  # shutdown


@pytest.mark.parametrize("command", PLAYBOOKS)
def test_a_playbook_is_there_and_reads_the_variables_that_are_shown(command):
    name, *options = command.split()
    path = f"playbooks/{name.removeprefix('pygun.stack.')}.yml"
    text = (ROOT / path).read_text()
    for variable in re.findall(r"-e (\w+)=", " ".join(options)):
        assert re.search(rf"\b{variable} (\||}}}})", text), f"{path} does not read {variable}"


def test_every_playbook_is_shown():
    shown = set(
        re.findall(r"^   \* - ``pygun\.stack\.([a-z]+)``$", (GUIDES / "playbooks.rst").read_text(), re.MULTILINE)
    )
    assert shown == {path.stem for path in (ROOT / "playbooks").glob("*.yml")}


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("supervisorctl ")])
def test_supervisorctl_knows_the_command(command):
    assert hasattr(DefaultControllerPlugin, f"do_{command.split()[1]}")


def test_the_variables_of_the_status_are_those_of_the_playbook():
    text = (ROOT / "playbooks" / "status.yml").read_text()
    for variable in re.findall(r"-e (status_\w+)=", GUIDE):
        assert variable in text
    assert "status_file" in GUIDE
