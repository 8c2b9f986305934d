"""The commands that README shows for every day exist as it shows them."""

import re
from pathlib import Path

import pytest
from supervisor.supervisorctl import DefaultControllerPlugin

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()
SECTION = README.partition("\n## Every day\n")[2].partition("\n## ")[0]
ROWS = [line for line in SECTION.splitlines() if line.startswith("| ")]
COMMANDS = [found for line in ROWS for found in re.findall(r"`([^`]+)`", line)]
PLAYBOOKS = [command for command in COMMANDS if command.startswith("playbooks/")]
#: What the tutorials of supervisor teach.
TAUGHT = ("start", "status", "tail", "reload", "restart one", "stop", "force restart")


def test_every_command_of_the_tutorial_has_its_row():
    firsts = [line.split("|")[1].strip() for line in ROWS]
    for word in TAUGHT:
        assert any(first.startswith(word) for first in firsts), word
    assert "systemd_service" in SECTION  # shutdown


@pytest.mark.parametrize("command", PLAYBOOKS)
def test_a_playbook_is_there_and_reads_the_variables_that_are_shown(command):
    path, *options = command.split()
    text = (ROOT / path).read_text()
    for variable in re.findall(r"-e (\w+)=", " ".join(options)):
        assert re.search(rf"\b{variable} (\||}}}})", text), f"{path} does not read {variable}"


def test_every_playbook_is_shown():
    assert set(re.findall(r"playbooks/([a-z]+\.yml)", README)) == {
        path.name for path in (ROOT / "playbooks").glob("*.yml")
    }


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("supervisorctl ")])
def test_supervisorctl_knows_the_command(command):
    assert hasattr(DefaultControllerPlugin, f"do_{command.split()[1]}")


def test_the_variables_of_the_status_are_those_of_the_playbook():
    text = (ROOT / "playbooks" / "status.yml").read_text()
    for variable in re.findall(r"-e (status_\w+)=", SECTION):
        assert variable in text
    assert "status_file" in SECTION
