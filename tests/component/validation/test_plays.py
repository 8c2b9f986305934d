# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When the variables of a play are checked: before Ansible's own check, and before the first app of several is deployed.

The host cannot be reached: a play whose variables are taken ends at the first task that needs it.
"""

from __future__ import annotations

import os
import re
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


def entry(role: str, /, **values: object) -> dict:
    """Another role with variables of its own."""
    return {"role": f"pygun.stack.{role}", "vars": values}


@pytest.fixture
def run(tmp_path: Path):
    """Run a play; its exit code, and what it printed."""

    def run(*roles: dict, tasks: tuple = (), options: tuple = (), environment: dict | None = None, **keywords: object):
        playbook = tmp_path / "play.yml"
        one = {"hosts": "all", "gather_facts": False, "roles": list(roles), "tasks": list(tasks), **keywords}
        playbook.write_text(yaml.safe_dump([one]))
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", "-i", "nowhere,", playbook, *options],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
            env={
                **os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0",
                "ANSIBLE_TIMEOUT": "5", "ANSIBLE_SSH_RETRIES": "0", "ANSIBLE_SSH_ARGS": "-p 1", "ANSIBLE_REMOTE_PORT": "1",
                **(environment or {}),
            },
        )  # fmt: skip
        return done.returncode, done.stdout

    return run


@pytest.fixture
def play(run):
    """Run a play that ends at the first task that needs the host, if not before; what it printed."""

    def play(*roles: dict, **keywords: object) -> str:
        code, output = run(*roles, **keywords)
        assert code != 0, output
        return output

    return play


@pytest.fixture
def play_that_goes_on(run, tmp_path: Path):
    """Run a play whose roles do nothing but say that it was their turn; its exit code, and what it printed."""
    collection = tmp_path / "ansible_collections" / "pygun" / "stack"
    says = {"supervisor": "supervisor ran", "flask_app": "{{ flask_app_name }} ran"}
    for role, text in says.items():
        (collection / "roles" / role / "tasks").mkdir(parents=True)
        for part in ("defaults", "meta", "vars"):
            (collection / "roles" / role / part).symlink_to(ROOT / "roles" / role / part)
        say = {"ansible.builtin.debug": {"msg": text}}
        (collection / "roles" / role / "tasks" / "main.yml").write_text(yaml.safe_dump([say]))
    for part in ("galaxy.yml", "meta", "plugins", "roles/checks", "roles/python", "roles/load_balancer"):
        (collection / part).symlink_to(ROOT / part)

    def play(*roles: dict, **keywords: object):
        return run(*roles, environment={"ANSIBLE_COLLECTIONS_PATH": str(tmp_path)}, **keywords)

    return play


def taken(output: str) -> bool:
    """Whether the check let the play go on to the first task that needs the host."""
    return "TASK [pygun.stack.python : Read the state of the host]" in output


def test_good_variables_are_taken(play):
    assert taken(play(app(SCORING), app(RANKING)))


@pytest.mark.parametrize(
    "role", ["supervisor", "python", pytest.param("flask_app", marks=pytest.mark.full)]
)  # as below
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


@pytest.mark.first_core
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


@pytest.mark.first_core
def test_two_apps_of_a_play_with_the_same_address_are_told(play):
    output = play(app(SCORING), app(RANKING, {"flask_app_bind": "0.0.0.0:5000"}))
    assert not taken(output)
    assert "flask_app_bind is '0.0.0.0:5000', and that of scoring is '127.0.0.1:5000'. Choose another port." in output


@pytest.mark.first_core
def test_a_name_that_is_missing_is_told_alone_and_not_for_what_is_made_of_it(play):
    output = play(app(SOURCE))
    assert "A variable of pygun.stack.flask_app cannot be used:" in output
    assert "- flask_app_name is not set. It has no default: set it." in output
    assert "cannot be worked out" not in output


def test_a_template_of_ones_own_that_cannot_be_worked_out_is_told_without_what_is_made_of_it(play):
    output = play(app(SCORING, {"flask_app_user": "{{ nowhere }}"}))
    assert "A variable of pygun.stack.flask_app cannot be used:" in output
    assert "- flask_app_user cannot be worked out: correct its template." in output


@pytest.mark.first_core
@pytest.mark.parametrize("where", ["in the source", pytest.param("elsewhere", marks=pytest.mark.full)])
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


def test_tags_that_are_left_out_and_nobodys_do_not_hinder_the_look_ahead(play):
    """Molecule always leaves out some."""
    output = play(app(SCORING), app(RANKING, BAD), options=("--skip-tags", "notest"))
    assert "(In the app ranking, later in this play.)" in output
    assert taken(play(app(SCORING, tags=["first"]), app(RANKING, BAD), options=("--skip-tags", "untagged")))


def test_an_app_that_is_not_selected_is_not_looked_at(play):
    roles = (app(SCORING, tags=["first"]), app(RANKING, BAD, tags=["second"]))
    assert taken(play(*roles, options=("--tags", "first")))


def test_several_apps_of_a_play_are_deployed_one_after_the_other(play_that_goes_on):
    code, output = play_that_goes_on(app(SCORING), app(RANKING))
    assert code == 0, output
    assert "scoring ran" in output
    assert "ranking ran" in output


def test_an_app_whose_condition_is_false_does_not_hinder_the_check_of_the_next(play):
    output = play(app(SCORING, when=False), app(RANKING, BAD))
    assert "flask_app_workers is 'auto': write a whole number" in output


PAGE = {
    "supervisor_http_enabled": True,
    "supervisor_http_user": "ops",
    "supervisor_http_password": "s3cret-value-of-ops",
}
LISTED = {"supervisor_programs": [{"name": "exporter", "command": "/usr/local/bin/exporter", "user": "nobody"}]}
INDEX = {"python_index_url": "https://me:s3cret-value@packages.example.com/simple"}
REMEDY = "A host has one: set it in group_vars or in the play's vars. Nothing was changed."

#: A play takes seconds. These ways to write one run with PYGUN_FULL=1 only; the same code decides about the others.
RARE = {
    "an app and supervisor",
    "two values",
    "python and supervisor",
    "entries with tags",
    "a condition that is true",
    "an app alone",
    "the play's",
    "the default's value",
    "a role that does not run the other",
    "one's own variable",
    "for another host",
    "a parameter of the entry",
    "supervisor alone",
}
#: These differ in what our own code compares.
ON_ONE_CORE = {"an app that comes later", "an entry and the play", "secrets", "the same for each"}


def few_of(ways: dict) -> list:
    """The ways to write a play as parameters."""
    return [
        pytest.param(
            *way, id=name, marks=[pytest.mark.full] * (name in RARE) + [pytest.mark.first_core] * (name in ON_ONE_CORE)
        )
        for name, way in ways.items()
    ]


TORN = {
    "supervisor and an app": (
        (entry("supervisor", **LISTED), app(SCORING)),
        "- supervisor_programs is set for the role entry pygun.stack.supervisor, but pygun.stack.flask_app (scoring) runs the"
        f" role supervisor too, without it. {REMEDY}",
    ),
    "an app and supervisor": (
        (app(SCORING, LISTED), entry("supervisor")),
        "- supervisor_programs is set for the role entry pygun.stack.flask_app (scoring), but pygun.stack.supervisor runs the"
        f" role supervisor too, without it. {REMEDY}",
    ),
    "a parameter of the entry": (
        ({"role": "pygun.stack.supervisor", **LISTED}, app(SCORING)),
        "- supervisor_programs is set for the role entry pygun.stack.supervisor, but pygun.stack.flask_app (scoring) runs",
    ),
    "an app that comes later": (
        (app(SCORING), app(RANKING, LISTED)),
        "- supervisor_programs is set for the role entry pygun.stack.flask_app (ranking), but pygun.stack.flask_app (scoring) runs",
    ),
    "two values": (
        (app(SCORING, {"supervisor_minfds": 1024}), app(RANKING, {"supervisor_minfds": 2048})),
        "- supervisor_minfds is set for the role entry pygun.stack.flask_app (scoring), but pygun.stack.flask_app (ranking) runs"
        f" the role supervisor too, with another value. {REMEDY}",
    ),
    "one text that means something else for each app": (
        tuple(
            app(one, {"supervisor_log_dir": "/var/log/{{ flask_app_name }}-supervisor"}) for one in (SCORING, RANKING)
        ),
        "- supervisor_log_dir is set for the role entry pygun.stack.flask_app (scoring), but pygun.stack.flask_app (ranking) runs",
    ),
    "an entry and the play": (
        (entry("supervisor", supervisor_minfds=1024), app(SCORING)),
        "- supervisor_minfds is set for the role entry pygun.stack.supervisor, but pygun.stack.flask_app (scoring) runs the"
        f" role supervisor too, with another value. {REMEDY}",
    ),
    "python and supervisor": (
        (entry("python", **INDEX), entry("supervisor")),
        "- python_index_url is set for the role entry pygun.stack.python, but pygun.stack.supervisor runs the role python too,"
        f" without it. {REMEDY}",
    ),
    "entries with tags": (
        ({**entry("supervisor", **LISTED), "tags": ["supervisor"]}, app(SCORING, tags=["app"])),
        "- supervisor_programs is set for the role entry pygun.stack.supervisor, but pygun.stack.flask_app (scoring) runs",
    ),
    "a condition that is true": (
        (entry("supervisor", **LISTED), app(SCORING, when="flask_app_name == 'scoring'")),
        "- supervisor_programs is set for the role entry pygun.stack.supervisor, but pygun.stack.flask_app (scoring) runs",
    ),
    "secrets": (
        (entry("supervisor", **PAGE, **INDEX), app(SCORING)),
        "- supervisor_http_password is set for the role entry pygun.stack.supervisor, but pygun.stack.flask_app (scoring) runs",
    ),
}


@pytest.mark.parametrize(("roles", "told"), few_of(TORN))
def test_what_belongs_to_the_host_is_the_same_for_all_entries_under_roles(play, roles, told):
    output = play(*roles, options=("-vvv",), vars={"supervisor_minfds": 4096})
    assert not taken(output)
    assert told in " ".join(output.split())
    assert "s3cret" not in output


WHOLE = {
    "supervisor alone": {"roles": (entry("supervisor", **LISTED, **PAGE, **INDEX),)},
    "an app alone": {"roles": (app(SCORING, LISTED, PAGE, INDEX),)},
    "the same for each": {"roles": (entry("supervisor", **LISTED), app(SCORING, LISTED), app(RANKING, LISTED))},
    "the play's": {"roles": (entry("supervisor"), app(SCORING)), "vars": {**LISTED, **INDEX}},
    "the play's, and again the same": {"roles": (entry("supervisor", **LISTED), app(SCORING)), "vars": LISTED},
    "the command line's, which wins": {
        "roles": (entry("supervisor", supervisor_minfds=1024), app(SCORING)),
        "options": ("-e", "supervisor_minfds=2048"),
    },
    "the default's value": {"roles": (entry("supervisor", supervisor_minfds=16384), app(SCORING))},
    "a role that does not run the other": {"roles": (entry("supervisor", **LISTED), entry("python"))},
    "one's own variable": {"roles": (entry("supervisor", supervisor_of_ours="Ada"), app(SCORING))},
    "a condition that is false": {"roles": (entry("supervisor", **LISTED), app(SCORING, when="1 > 2"))},
    "never, unless asked for": {"roles": (entry("supervisor", **LISTED), app(SCORING, tags=["never", "later"]))},
    "for another host": {"roles": (entry("supervisor", **LISTED), app(SCORING, delegate_to="elsewhere"))},
}


@pytest.mark.parametrize("written", few_of({name: (value,) for name, value in WHOLE.items()}))
def test_what_all_entries_see_alike_is_taken(play, written):
    assert taken(play(*written["roles"], **{name: value for name, value in written.items() if name != "roles"}))


def test_a_condition_that_is_not_known_yet_does_not_stop_the_first_entry(play):
    assert taken(play(entry("supervisor", **LISTED), app(SCORING, when="later is defined and later.changed")))
    assert taken(play(entry("supervisor", **LISTED), app(SCORING, when="later.changed")))


def test_an_entry_whose_condition_comes_true_is_compared_with_those_before_it(play_that_goes_on, tmp_path):
    (tmp_path / "roles" / "other" / "tasks").mkdir(parents=True)
    (tmp_path / "roles" / "other" / "tasks" / "main.yml").write_text("- ansible.builtin.set_fact: {later: true}\n")
    code, output = play_that_goes_on(entry("supervisor", **LISTED), {"role": "other"}, app(SCORING, when="later"))
    assert code != 0, output
    assert "supervisor ran" in output
    assert "scoring ran" not in output
    assert "supervisor_programs is set for the role entry pygun.stack.supervisor, but" in output


EXAMPLES = sorted(
    page for page in ROOT.glob("roles/*/README.md") if (page.parent / "meta" / "argument_specs.yml").exists()
)


@pytest.mark.parametrize("page", EXAMPLES, ids=lambda page: page.parent.name)
def test_no_example_sets_for_an_entry_what_belongs_to_the_host(page):
    blocks = [
        yaml.safe_load(block)
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    ]
    entries = [one for block in blocks if isinstance(block, list) for play in block for one in play["roles"]]
    assert entries
    own = [name for one in entries if isinstance(one, dict) for name in {**one, **one.get("vars", {})}]
    assert [name for name in own if name.startswith(("supervisor_", "python_"))] == []
