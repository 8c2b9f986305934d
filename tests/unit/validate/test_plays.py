# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When the variables of a play are checked: before Ansible's own check, and before the first app of several is deployed.

The host cannot be reached: a play whose variables are taken ends at the first task that needs it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
SOURCE = {"flask_app_src": f"{ROOT}/app/"}
SCORING = {"flask_app_name": "scoring", **SOURCE}
RANKING = {"flask_app_name": "ranking", "flask_app_bind": "127.0.0.1:5001", **SOURCE}
BAD = {"flask_app_workers": "auto"}


def app(*values: dict, **keywords: object) -> dict:
    """An app as it stands under `roles:`."""
    together = {name: value for one in values for name, value in one.items()}
    return {"role": "pygun.stack.flask_app", "vars": together, **keywords}


@pytest.fixture
def play(tmp_path: Path):
    """Run a play; what it printed."""

    def run(*roles: dict, tasks: tuple = (), options: tuple = ()) -> str:
        playbook = tmp_path / "play.yml"
        playbook.write_text(
            yaml.safe_dump([{"hosts": "all", "gather_facts": False, "roles": list(roles), "tasks": list(tasks)}])
        )
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", "-i", "nowhere,", playbook, *options],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
            env={
                **os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0",
                "ANSIBLE_TIMEOUT": "5", "ANSIBLE_SSH_RETRIES": "0", "ANSIBLE_SSH_ARGS": "-p 1", "ANSIBLE_REMOTE_PORT": "1",
            },
        )  # fmt: skip
        assert done.returncode != 0, done.stdout
        return done.stdout

    return run


def taken(output: str) -> bool:
    """Whether the check let the play go on to the first task that needs the host."""
    return "TASK [pygun.stack.python : Learn the distribution]" in output


def test_good_variables_are_taken(play):
    assert taken(play(app(SCORING), app(RANKING)))


@pytest.mark.parametrize("role", ["flask_app", "supervisor", "python"])
def test_a_wrong_type_is_told_in_our_words_by_each_role(play, role):
    wrong = {
        "flask_app": BAD,
        "supervisor": {"supervisor_http_port": "page"},
        "python": {"python_extra_args": {"a": "b"}},
    }[role]
    output = play({"role": f"pygun.stack.{role}", "vars": {**(SCORING if role == "flask_app" else {}), **wrong}})
    assert not taken(output)
    assert f"A variable of pygun.stack.{role} cannot be used:" in output
    assert "Write" in output or "write" in output
    assert "Nothing was changed." in output
    assert "Validating arguments against arg spec" not in output


def test_a_wrong_type_is_told_in_our_words_by_an_included_role(play):
    include = {"ansible.builtin.include_role": {"name": "pygun.stack.flask_app"}, "vars": {**SCORING, **BAD}}
    output = play(tasks=(include,))
    assert not taken(output)
    assert "flask_app_workers is 'auto': write a whole number" in output


def test_a_name_that_is_no_text_is_told_as_any_other_mistake(play):
    output = play(app(SCORING, {"flask_app_name": ["scoring"]}), app(RANKING, {"flask_app_name": {"a": "b"}}))
    assert "flask_app_name: a text is expected, and this is a list. Write one value." in output
    assert "flask_app_name: a text is expected, and this is a dictionary." in output


def test_an_app_that_comes_later_is_checked_before_the_first_is_deployed(play):
    output = play(app(SCORING), app(RANKING, BAD))
    assert not taken(output)
    assert (
        "flask_app_workers is 'auto': write a whole number, without a unit. (In the app ranking, later in this play.)"
        in output
    )
    assert "Nothing was changed." in output


def test_two_apps_of_a_play_with_the_same_address_are_told(play):
    output = play(app(SCORING), app(RANKING, {"flask_app_bind": "0.0.0.0:5000"}))
    assert not taken(output)
    assert "flask_app_bind is '0.0.0.0:5000', and that of scoring is '127.0.0.1:5000'. Choose another port." in output


@pytest.mark.parametrize("where", ["in the source", "elsewhere"])
def test_a_character_in_a_requirement_file_that_nobody_sees_is_told(play, tmp_path, where):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "wsgi.py").write_text("")
    file = tmp_path / ("source" if where == "in the source" else "") / "requirements.txt"
    file.write_text("# fine\u00a0here\nflask\u00a0==3.1.2\n")
    named = {} if where == "in the source" else {"flask_app_requirements": [str(file)]}
    output = play(app(SCORING, {"flask_app_src": f"{tmp_path}/source/"}, named))
    assert not taken(output)
    assert f"flask_app_requirements: {file}, line 2, column 6: U+00A0 NO-BREAK SPACE. Type the line again." in output


UNCERTAIN = {
    "a condition": (app(RANKING, BAD, when="later is defined"),),
    "a value that is not known yet": (app(RANKING, {"flask_app_workers": "{{ later }}"}),),
    "another role that comes first": ({"role": "other"}, app(RANKING, BAD)),
}


@pytest.mark.parametrize("later", UNCERTAIN.values(), ids=UNCERTAIN.keys())
def test_what_can_still_change_does_not_stop_the_first_app(play, tmp_path, later):
    (tmp_path / "roles" / "other" / "tasks").mkdir(parents=True)
    (tmp_path / "roles" / "other" / "tasks" / "main.yml").write_text("[]\n")
    assert taken(play(app(SCORING), *later))


def test_an_app_that_is_not_selected_is_not_looked_at(play):
    roles = (app(SCORING, tags=["first"]), app(RANKING, BAD, tags=["second"]))
    assert taken(play(*roles, options=("--tags", "first")))
