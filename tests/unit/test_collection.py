"""The repository agrees with itself: what one file says of another is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tools import checks, role_readmes

ROOT = Path(__file__).resolve().parents[2]
ROLES = role_readmes.roles()


def load(*parts: str):
    return yaml.safe_load(ROOT.joinpath(*parts).read_text())


def options(role: str) -> dict:
    return load("roles", role, "meta", "argument_specs.yml")["argument_specs"]["main"].get("options", {})


def test_the_collection_has_its_three_roles():
    assert {"flask_app", "python", "supervisor"} <= set(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_the_argument_spec_and_the_defaults_name_the_same_variables_with_the_same_defaults(role):
    specified = {name: option["default"] for name, option in options(role).items() if not option.get("required")}
    assert specified == load("roles", role, "defaults", "main.yml")


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_has_the_prefix_of_its_role_a_type_and_a_meaning(role):
    for name, option in options(role).items():
        assert name.startswith(f"{role}_")
        assert option["type"]
        assert option["description"]


@pytest.mark.parametrize(
    "app", load("tests", "acceptance", "many", "published_apps.yml"), ids=lambda app: app["package"]
)
def test_a_published_app_has_variables_of_the_role_at_a_fixed_version(app):
    given = [app["vars"], *(refusal["vars"] for refusal in app.get("refusals", []))]
    assert {name for names in given for name in names} <= set(options("flask_app"))
    assert {"flask_app_name", "flask_app_wsgi"} <= set(app["vars"])
    assert re.search(r"==|@[0-9a-f]{40}$", app["package"])
    assert app["answers"] and app["edit"].endswith(".py")


@pytest.mark.parametrize("path", sorted([*ROOT.glob("roles/*/*/*.yml"), *ROOT.glob("playbooks/*.yml")]), ids=str)
def test_no_loop_takes_the_variable_of_a_loop_around_it(path):
    """A play that includes a role in a loop has `item` there."""
    text = path.read_text()
    assert len(re.findall(r"^ *(?:loop|with_\w+):", text, re.MULTILINE)) == len(
        re.findall(r"^ *loop_var: __\w+$", text, re.MULTILINE)
    )
    assert not re.search(r"\{\{[^}]*\bitem\b", text)


TASK_FILES = [
    *ROOT.glob("roles/*/tasks/*.yml"),
    *ROOT.glob("roles/*/handlers/*.yml"),
    *ROOT.glob("playbooks/*.yml"),
    *(path for path in ROOT.glob("molecule/*/*.yml") if path.parent.name != "inventories"),
    *ROOT.glob("benchmarks/*/*.yml"),
]
VERBS = set(
    "Install Create Configure Start Check Refuse Show Remove Wait Stop Restart Reload Read Build Deploy Activate Drain "
    "Collect Reboot Update Download Render Return Reset Save Verify Run Write Copy Add Change Select Examine Disconnect".split()
)
VERB_PHRASES = ("Back up ", "Roll back ", "Roll the app back")


@pytest.mark.parametrize("path", sorted(TASK_FILES), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_name_of_a_play_or_a_task_begins_with_a_plain_verb(path):
    names = re.findall(r"^ *- name: (.+)$", path.read_text(), re.MULTILINE)
    unplain = [n for n in names if re.split(r"[ ,]", n)[0] not in VERBS and not n.startswith(VERB_PHRASES)]
    assert unplain == []


def test_the_locks_test_the_versions_that_the_roles_install():
    flask_app, python, supervisor = (
        load("roles", role, "defaults", "main.yml") for role in ("flask_app", "python", "supervisor")
    )
    wanted = {re.sub(r"\[.*\]", "", package) for package in flask_app["flask_app_server_packages"]}
    wanted |= {f"supervisor=={supervisor['supervisor_version']}", f"uv=={python['python_uv_version']}"}
    wanted.add(f"superlance=={supervisor['supervisor_superlance_version']}")
    listed = set((ROOT / "requirements" / "unit.in").read_text().splitlines())
    assert wanted <= listed


@pytest.mark.parametrize("lock", sorted(path.name for path in (ROOT / "requirements").glob("*.txt")))
def test_every_locked_package_has_a_hash_and_no_place_where_it_came_from(lock):
    text = (ROOT / "requirements" / lock).read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9.-]+==\S+", entry), entry
        assert "--hash=sha256:" in entry
    assert "://" not in text
    assert "--index-url" not in text


def test_what_is_said_to_be_tested_is_what_the_workflow_tests():
    suites = set(load(".github", "workflows", "test.yml")["jobs"]["test"]["strategy"]["matrix"]["suite"])
    said = re.findall(r"^\| Debian \d+ \((\w+)\) .*\| tested", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert set(said) == suites
    for meta in sorted(ROOT.glob("roles/*/meta/main.yml")):
        (platform,) = load(meta)["galaxy_info"]["platforms"]
        assert (platform["name"], set(platform["versions"])) == ("Debian", suites), meta


def test_every_scenario_has_an_inventory_and_the_playbooks_that_its_sequence_names():
    """Molecule only warns about a playbook that is not there."""
    base = load(".config", "molecule", "config.yml")
    for config in sorted((ROOT / "molecule").glob("*/molecule.yml")):
        scenario = config.parent
        assert (ROOT / "molecule" / "inventories" / f"{scenario.name}.yml").exists(), scenario.name
        own = yaml.safe_load(config.read_text()) or {}
        named = base["ansible"]["playbooks"] | own.get("ansible", {}).get("playbooks", {})
        for step in own.get("scenario", base["scenario"])["test_sequence"]:
            action, *playbooks = step.split()
            action = {"check": "converge", "idempotence": "converge"}.get(action, action)
            for playbook in playbooks or [named.get(action, f"{action}.yml")]:
                path = playbook.replace("${MOLECULE_PROJECT_DIRECTORY}", str(ROOT))
                assert (scenario / path).exists(), f"{scenario.name}: {step}"


def test_every_scenario_has_acceptance_tests_or_a_verification_of_its_own():
    for config in sorted((ROOT / "molecule").glob("*/molecule.yml")):
        tests = list((ROOT / "tests" / "acceptance" / config.parent.name).glob("test_*.py"))
        assert tests or (config.parent / "verify.yml").exists(), config.parent.name


MEETS_ANSIBLE = re.compile(
    r"""^\s*(from|import)\ ansible(\.|\ import|$) | ["'/]ansible(-playbook|-doc)?["'] | import_module\("ansible""",
    re.M | re.X,
)


def test_what_can_tell_one_ansible_core_from_another_runs_with_both():
    found = {
        str(path.relative_to(ROOT))
        for folder in ("unit", "component")
        for path in (ROOT / "tests" / folder).rglob("test_*.py")
        if path != Path(__file__) and MEETS_ANSIBLE.search(path.read_text())
    }
    assert found
    places = tuple(place.partition("::")[0] for place in checks.MEET_ANSIBLE)
    missing = [path for path in found if not path.startswith(places)]
    assert sorted(missing) == []
    assert [path for path in places if not (ROOT / path).exists()] == []
    tests = [place.partition("::")[::2] for place in checks.MEET_ANSIBLE if "::" in place]
    assert [test for path, test in tests if f"def {test}(" not in (ROOT / path).read_text()] == []
