# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a release says of itself, and what is read of one that says nothing or nonsense."""

from __future__ import annotations

import dataclasses
import inspect
import json

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.release import record
from ansible_collections.pygun.stack.plugins.module_utils.release.build import _metadata
from pygun_runtime import Runtime
from tests.unit import role_vars

OLD = """
runtime = pygun_runtime.Runtime(
    __file__,
    app="scoring",
    bind='127.0.0.1:5000',  # when no socket is handed over
    run_dir="/run/scoring",
    env_file="/etc/pygun/scoring.env",
    health_path="/healthz",
    boot_timeout=45,  # seconds
    log_dir="/var/log/scoring",
)
graceful_timeout = 20
boot_timeout = 7
"""
SERVICE = record.Service(
    bind="127.0.0.1:5000",
    health_path="/healthz",
    boot_timeout=45.0,
    graceful_timeout=20.0,
    env_file="/etc/pygun/scoring.env",
    run_dir="/run/scoring",
    log_dir="/var/log/scoring",
)


def write(folder, service):
    folder.joinpath("release.json").write_text(json.dumps({"service": service}))


def test_what_a_release_was_built_with_is_read_back(tmp_path):
    given = {**vars(SERVICE), "boot_timeout": "45", "graceful_timeout": 20, "health_host": None, "colour": "red"}
    params = dict.fromkeys(
        (
            "name",
            "content",
            "origin",
            "requirements",
            "server_packages",
            "overrides",
            "pygun_py_shown",
            "shared_paths",
        )
    )
    (tmp_path / "release.json").write_bytes(
        _metadata({**params, "packages": [], "service": given}, "0123456789abcdef", "3.12")
    )
    (tmp_path / "pygun.py").write_text(OLD.replace("45", "99"))  # which nobody looks into
    assert record.service_of(str(tmp_path)) == SERVICE
    assert record.service_of(str(tmp_path)).question() == record.Question("/healthz", "localhost", "")


@pytest.mark.parametrize(
    "metadata", [None, b"{}", b"[]", b"\xff", b'{"service": 7}', b'{"service": {}}', b'{"service": {"bind":']
)
def test_a_release_that_an_older_version_has_built_is_read_by_its_settings(tmp_path, metadata):
    (tmp_path / "pygun.py").write_text(OLD)
    if metadata is not None:
        (tmp_path / "release.json").write_bytes(metadata)
    assert record.service_of(str(tmp_path)) == SERVICE


def test_a_folder_without_anything_says_nothing(tmp_path):
    assert record.service_of(str(tmp_path / "none")) == record.Service()
    assert (record.Service().boot_timeout, record.Service().health_host) == (30.0, "localhost")


@pytest.mark.parametrize("wrong", [None, True, [], {}, "soon", -1, 0, float("nan"), float("inf"), 10**400])
def test_a_value_of_a_wrong_kind_is_as_if_it_were_not_there(tmp_path, wrong):
    write(
        tmp_path, {**vars(SERVICE), "boot_timeout": wrong, "bind": 5000, "health_path": "/a\x1b[31m", "colour": "red"}
    )
    found = record.service_of(str(tmp_path))
    assert (found.boot_timeout, found.bind, found.health_path) == (30.0, "", "")
    assert found.log_dir == SERVICE.log_dir


def test_a_record_without_end_is_not_read(tmp_path):
    write(tmp_path, {"bind": "x" * 2 * 1024 * 1024})
    assert record.service_of(str(tmp_path)) == record.Service()


def test_the_digest_of_the_environment_is_that_of_the_file_that_the_release_names(tmp_path):
    file = tmp_path / "app.env"
    file.write_text("A=1\n")
    write(tmp_path, {"env_file": str(file)})
    assert record.service_of(str(tmp_path)).environment_digest() == record.environment_digest(b"A=1\n")
    write(tmp_path, {})
    assert record.service_of(str(tmp_path)).environment_digest() == record.environment_digest(b"")


def test_role_and_runtime_name_the_same_facts():
    known = {field.name for field in dataclasses.fields(record.Service)}
    told = inspect.signature(Runtime).parameters
    known.remove("wsgi")  # gunicorn's, in a line of its own in pygun.py.j2
    assert known <= {key for name in role_vars.NAMES for key in role_vars.VARS[name]}
    assert set(role_vars.VARS["__flask_app_runtime"]) <= set(told)
    assert record.Service().boot_timeout == told["boot_timeout"].default
    assert record.Service().health_host == told["health_host"].default


@pytest.mark.parametrize(
    ("text", "health_path", "asked"),
    [
        ("", "/healthz", "/healthz"),
        ("", "", "/"),
        ('SCRIPT_NAME="/scoring"\n', "/healthz", "/scoring/healthz"),
        ('SCRIPT_NAME="/scoring"\n', "/scoring/healthz?deep=1", "/scoring/healthz?deep=1"),
        ("X=1\nexport SCRIPT_NAME=/scoring # prefix\n", "/scoringx", "/scoring/scoringx"),
        ("SCRIPT_NAME='/a'\nSCRIPT_NAME='/b'\n", "", "/b/"),
        ('SCRIPT_NAME="/scoring"\n', "/scoring", "/scoring"),
    ],
)
def test_an_app_below_a_path_is_asked_below_it(tmp_path, text, health_path, asked):
    file = tmp_path / "app.env"
    file.write_text(text)
    write(tmp_path, {"health_path": health_path, "env_file": str(file), "bind": "127.0.0.1:1"})
    assert record.service_of(str(tmp_path)).question().path == asked
