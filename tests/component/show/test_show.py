"""The action `show` prints what it is given, once, and nothing of it comes back as data."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
TEXT = 'app      memory\nscoring  "12 MiB"\n\n  \u00e9\u4e2d {not: a template}  end'
INVENTORY = "a ansible_connection=local\nb ansible_connection=local\nc ansible_connection=local\n"


@pytest.fixture
def play(tmp_path):
    """Run tasks on three hosts that no connection is needed for; the output and the exit status."""

    def run(task, *options, callback="ansible.builtin.default"):
        (tmp_path / "hosts").write_text(INVENTORY)
        expected = ["shown is not changed", "'12 MiB' not in shown | to_json"]
        check = {"name": "Look at the result", "ansible.builtin.assert": {"that": expected, "quiet": True}}
        tasks = [{"name": "Show it", **task, "register": "shown"}, {**check, "run_once": True}]
        book = [{"name": "Test", "hosts": "all", "gather_facts": False, "vars": {"words": TEXT}, "tasks": tasks}]
        (tmp_path / "play.yml").write_text(yaml.safe_dump(book))
        environ = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        environ.update(ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), ANSIBLE_STDOUT_CALLBACK=callback, PYTHONUTF8="1")
        environ.update(HOME=str(tmp_path), ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".cache" / "collections"))
        program = Path(sys.executable).with_name("ansible-playbook")
        return subprocess.run(
            [program, "-i", str(tmp_path / "hosts"), str(tmp_path / "play.yml"), *options],
            capture_output=True, text=True, check=False, env=environ, cwd=tmp_path, timeout=120,
        )  # fmt: skip

    return run


@pytest.mark.parametrize(
    "callback, options",
    [
        ("ansible.builtin.default", ()),
        ("ansible.builtin.default", ("--check", "-vvv")),
        ("ansible.builtin.minimal", ()),
    ],
)
def test_a_text_is_printed_as_it_is_once_for_all_hosts_and_is_not_part_of_the_result(play, callback, options):
    done = play({"pygun.stack.show": {"text": "{{ words }}"}}, *options, callback=callback)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(f"\n{TEXT}\n") + done.stdout.startswith(TEXT) == 1, done.stdout
    assert done.stdout.count("12 MiB") == 1, done.stdout


def test_an_empty_text_prints_no_line(play):
    done = play({"pygun.stack.show": {"text": ""}}, callback="ansible.builtin.minimal")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stdout.startswith("\n")


@pytest.mark.parametrize("task", [{"pygun.stack.show": {"text": ["a", "b"]}}, {"pygun.stack.show": {}}])
def test_what_is_no_text_is_refused(play, task):
    done = play(task)
    assert done.returncode != 0
    assert "must be a string" in done.stdout + done.stderr
