"""Variables that nobody reads are warned about, wherever they are set, with the name that is most like theirs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.pygun.stack.plugins.plugin_utils.validation import names

ROOT = Path(__file__).parents[3]
OPTIONS = {
    name
    for path in ROOT.glob("roles/*/meta/argument_specs.yml")
    for name in yaml.safe_load(path.read_text())["argument_specs"]["main"].get("options", {})
}


def unread(variables=(), given=(), **values):
    variables = {**dict.fromkeys([*variables, *given], "x"), **values}
    return dict(names.unread(OPTIONS, variables, given))


@pytest.mark.parametrize(
    "name, near",
    [
        ("flask_app_helth_path", "flask_app_health_path"),
        ("flask_app_health_url", "flask_app_health_path"),
        ("flask_app_worker", "flask_app_workers"),
        ("supervisor_http_on", "supervisor_http_"),
        ("load_balancer_certs", "load_balancer_certificates"),
        ("python_index", "python_index_url"),
        ("flask_app_reles", "flask_app_release"),
        ("logs_levels", "logs_level"),
        ("uninstall_all_data", "uninstall_data"),
        ("status_fromat", "status_format"),
    ],
)
def test_a_name_with_a_prefix_of_ours_is_told_with_the_nearest_wherever_it_is_set(name, near):
    assert f"is {near}" in unread([name])[name]
    assert f"is {near}" in unread(given=[name])[name]


def test_a_name_that_is_like_none_is_told_as_well():
    assert unread(["supervisor_qqqqqqqqqqqqqqqqqqqqqq"]) == {
        "supervisor_qqqqqqqqqqqqqqqqqqqqqq": " is no variable of pygun.stack and has no effect."
    }


@pytest.mark.parametrize(
    "name, near", [("log_level", "logs_level"), ("release", "flask_app_release"), ("app_name", "flask_app_name")]
)
def test_on_the_command_line_a_prefix_may_be_missing_or_wrong(name, near):
    assert near in unread(given=[name])[name]
    assert unread([name]) == {}


def test_what_others_call_theirs_is_not_ours():
    assert unread(["ansible_python_interpreter", "database", "status_page", "logs_of_mine", "worker"]) == {}
    assert unread(given=["ansible_user", "ansible_python_interpreter", "cases", "color"]) == {}


def test_what_another_variable_is_made_of_is_read():
    assert unread(["flask_app_secret"], flask_app_env={"KEY": ["{{ flask_app_secret }}"]}) == {}
    assert unread(["flask_app_secret"], flask_app_env={"KEY": "flask_app_secret"})
    assert unread(["flask_app_secret"], hostvars={"KEY": "{{ flask_app_secret }}"})


def test_what_the_playbooks_read_is_known_and_nothing_else():
    read = {"load_balancer_address"}  # the balancer, of each host
    for path in ROOT.glob("playbooks/*.yml"):
        code = re.sub(r"^ *#.*$", "", path.read_text(), flags=re.MULTILINE)
        read |= set(re.findall(r"(?<![\w.])([a-z]\w+) \| default\(", code))
    assert {name for name in read if name.startswith((*names._OF_ROLES, *names._SHARED))} - OPTIONS | {
        "confirm",
        "command",
    } == names.OF_PLAYBOOKS
    assert unread([*names.OF_PLAYBOOKS, *OPTIONS], given=names.OF_PLAYBOOKS) == {}
