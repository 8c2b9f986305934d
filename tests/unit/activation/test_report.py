"""How the error of an activation reads."""

import dataclasses
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.activation.errors import StepFailure
from ansible_collections.pygun.stack.plugins.module_utils.activation.files import ManagedFile
from ansible_collections.pygun.stack.plugins.module_utils.activation.options import Options
from ansible_collections.pygun.stack.plugins.module_utils.activation.transaction import Activation
from ansible_collections.pygun.stack.plugins.module_utils.diagnosis import symptoms


@pytest.fixture
def env_file(tmp_path):
    """The environment file of the release that failed; the way back has removed it."""
    return ManagedFile(str(tmp_path / "sample.env"), b"DATABASE_URL='x'\nTOKEN=secret\n", 0o640)


@pytest.fixture
def reproduce(tmp_path, env_file):
    """The command that reproduces a failure of the release."""
    options = Options(
        env_file=env_file,
        name="sample",
        release="current",
        root=str(tmp_path),
        run_dir=str(tmp_path / "run"),
        supervisor_socket=str(tmp_path / "none.sock"),
    )
    release = tmp_path / "releases" / "0123456789abcdef"
    release.mkdir(parents=True)
    (release / "release.json").write_text('{"service": {"health_path": "/healthz"}}')
    report = Activation(options).report

    def command(why, blames_release=True):
        failure = StepFailure(why, blames_release=blames_release)
        text = str(report.error(failure, "0123456789abcdef", "It was not put into service.", ""))
        assert len(text.splitlines()) < 40 and max(map(len, text.splitlines())) < 700
        return next((line for line in text.splitlines() if line.startswith("To reproduce: ")), None)

    return command


@pytest.mark.parametrize(
    "why",
    [
        "GET /healthz answered 503: NOT TODAY",
        "GET /healthz gave no answer",
        "GET /healthz raised KeyError: 'DATABASE_URL'",
    ],
)
def test_a_request_reproduces_what_only_a_request_shows_however_the_cause_is_worded(reproduce, monkeypatch, why):
    reworded = tuple(dataclasses.replace(symptom, cause="Reworded.") for symptom in symptoms.SYMPTOMS)
    monkeypatch.setattr(symptoms, "SYMPTOMS", reworded)
    assert "--check-config" not in reproduce(why)
    assert reproduce(why).endswith("curl -i http://127.0.0.1:8999/healthz")


def test_a_check_of_the_settings_reproduces_what_an_import_shows_whatever_the_app_says(reproduce):
    command = reproduce("ModuleNotFoundError: No module named 'the health endpoint'")
    assert command.endswith("--check-config -c pygun.py")


def test_nothing_reproduces_what_the_release_is_not_to_blame_for(reproduce):
    assert reproduce("GET /healthz answered 503", blames_release=False) is None


def test_the_command_names_what_it_needs_of_an_environment_that_was_put_back(reproduce, env_file):
    command = reproduce("KeyError: 'DATABASE_URL'")
    assert " DATABASE_URL=... TOKEN=... " in command
    assert "secret" not in command


def test_there_is_no_command_if_the_environment_of_before_would_take_the_place_of_the_one_that_failed(
    reproduce, env_file
):
    Path(env_file.path).write_text("DATABASE_URL='y'\n")
    assert reproduce("KeyError: 'DATABASE_URL'") is None


def test_a_command_names_no_variable_that_the_file_has(reproduce, env_file):
    Path(env_file.path).write_bytes(env_file.content)
    assert "=..." not in reproduce("KeyError: 'DATABASE_URL'")


def test_a_refusal_of_many_characters_is_not_one_line_of_them(reproduce):
    assert reproduce("GET /healthz answered 503: " + "x" * 5000)


def test_the_end_of_a_command_is_what_a_shell_takes(reproduce):
    assert reproduce("KeyError: 'X'").split(" -- ")[1].startswith("env -C ")
