"""How the error of an activation reads."""

import dataclasses

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.activation.errors import StepFailure
from ansible_collections.pygun.stack.plugins.module_utils.activation.options import Options
from ansible_collections.pygun.stack.plugins.module_utils.activation.transaction import Activation
from ansible_collections.pygun.stack.plugins.module_utils.diagnosis import symptoms


@pytest.fixture
def reproduce(tmp_path):
    """The command that reproduces a failure of the release."""
    options = Options(
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
        return report.error(failure, "0123456789abcdef", "It was not put into service.", "").facts["reproduce"]

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
