"""What interrupts or removes an app needs its name on the command line: the real playbooks, on hosts of nowhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
INVENTORY = """
[api]
a ansible_connection=local
b ansible_connection=local
[api:vars]
flask_app_base_dir={folder}/srv
supervisor_conf_dir={folder}/etc
ansible_become=false
ansible_python_interpreter={python}
"""
REFUSED = "the command line does not confirm that"


@pytest.fixture
def play(tmp_path):
    """Run one of the playbooks with variables of the inventory; whether it was refused before its first task, and its output."""

    def run(playbook, *options, **variables):
        inventory = INVENTORY.format(folder=tmp_path, python=sys.executable)
        inventory += "".join(f"{name}={value}\n" for name, value in variables.items())
        (tmp_path / "hosts").write_text(inventory)
        environ = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        environ.update(ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), PYTHONUTF8="1", HOME=str(tmp_path))
        environ.update(ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".cache" / "collections"))
        book = playbook if "." in playbook else str(ROOT / "playbooks" / f"{playbook}.yml")
        done = subprocess.run(
            [Path(sys.executable).with_name("ansible-playbook"), "-i", str(tmp_path / "hosts"), book, *options],
            capture_output=True, text=True, check=False, env=environ, cwd=tmp_path, timeout=120,
        )  # fmt: skip
        text = done.stdout + done.stderr
        assert done.returncode != 0, text  # there is no such app here, and no supervisord
        later = any(
            task in text for task in ("TASK [Stop the instances", "TASK [Stop and remove", "TASK [Restart the inst")
        )
        assert later == (REFUSED not in text), text
        if not later:
            assert "Nothing was changed." in text
        return not later, text

    return run


def first_on_each_core(*cases, full=()):
    """A play takes a second. The other cases differ in what our own code compares, and the full ones in one line of it."""
    return [
        pytest.param(*case, marks=[pytest.mark.first_core] * bool(number) + [pytest.mark.full] * (number in full))
        for number, case in enumerate(cases)
    ]


FORCE = {"flask_app_force": "true"}
EVERYTHING = {"uninstall_everything": "true", "uninstall_apps": "scoring"}


@pytest.mark.parametrize(
    "playbook, variables, command",
    first_on_each_core(
        ("stop", {}, "stop.yml -e flask_app_name=scoring"),
        ("uninstall", {}, "uninstall.yml -e flask_app_name=scoring"),
        ("restart", FORCE, "restart.yml -e flask_app_name=scoring -e flask_app_force=true"),
        ("uninstall", {"uninstall_data": "yes"}, "uninstall.yml -e flask_app_name=scoring -e uninstall_data=true"),
        ("uninstall", EVERYTHING, "uninstall.yml -e uninstall_apps=scoring -e uninstall_everything=true"),
        ("pygun.stack.stop", {}, "ansible-playbook pygun.stack.stop -e flask_app_name=scoring"),
        full=(1, 3),
    ),
)
def test_what_the_inventory_alone_says_is_refused_with_the_command_to_give(play, playbook, variables, command):
    refused, text = play(playbook, flask_app_name="scoring", **variables)
    assert refused
    assert command in text and "on a, b" in text


@pytest.mark.parametrize(
    "options",
    [
        ("-e", "flask_app_name=scoring"),
        ("-e", "@given.yml"),
        ("-e", "confirm=scoring"),
    ],
)
def test_a_name_on_the_command_line_is_enough(play, tmp_path, options):
    (tmp_path / "given.yml").write_text("flask_app_name: scoring\n")
    refused, text = play("stop", *options, flask_app_name="scoring")
    assert not refused
    assert text.count("Stops scoring on a, b.") == 1


@pytest.mark.parametrize(
    "playbook, options, variables",
    first_on_each_core(
        ("stop", ("-e", "confirm=billing"), {}),
        ("stop", ("-e", "flask_app_name=billing", "-e", "confirm=scoring"), {}),
        ("restart", ("-e", "flask_app_name=scoring"), FORCE),
        ("uninstall", ("-e", "flask_app_name=scoring"), {"uninstall_data": "true"}),
        ("uninstall", ("-e", "flask_app_name=scoring"), EVERYTHING),
        ("uninstall", ("-e", "uninstall_everything=true"), EVERYTHING),
        full=(1, 3),
    ),
)
def test_another_name_or_half_of_it_is_not(play, playbook, options, variables):
    assert play(playbook, *options, flask_app_name="scoring", **variables)[0]


def test_hosts_with_other_names_are_told_apart(play, tmp_path):
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars" / "b.yml").write_text("flask_app_name: billing\nuninstall_everything: true\n")
    refused, text = play("stop", "-e", "confirm=scoring", flask_app_name="scoring")
    assert refused
    assert "-e flask_app_name=scoring --limit a" in text and "-e flask_app_name=billing --limit b" in text
    assert not play("stop", "-e", "confirm=billing", "--limit", "b", flask_app_name="scoring")[0]
    refused, text = play("uninstall", "-e", "flask_app_name=scoring")
    assert refused and "uninstall_everything is true for b" in text


def test_a_name_of_the_play_is_not_the_command_line(play, tmp_path):
    (tmp_path / "book.yml").write_text(
        "- ansible.builtin.import_playbook: pygun.stack.stop\n  vars: {flask_app_name: billing}\n"
    )
    refused, text = play(str(tmp_path / "book.yml"), flask_app_name="scoring")
    assert refused and "flask_app_name is billing for a, b" in text
    assert play("stop", "--check", flask_app_name="scoring")[0]
    assert not play(str(tmp_path / "book.yml"), "-e", "confirm=billing", flask_app_name="scoring")[0]


@pytest.mark.parametrize("playbook", ["stop", "uninstall"])
def test_without_any_name_the_host_says_which_apps_there_are(play, playbook):
    refused, text = play(playbook)
    assert not refused and "Name the app: -e flask_app_name=NAME" in text


def test_a_rolling_restart_needs_nothing(play):
    assert not play("restart", flask_app_name="scoring")[0]
