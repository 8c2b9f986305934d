"""Which failures of a trial the release command may mend, and what a path in an app's error means."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.activation.trial import Trial, through_links
from ansible_collections.pygun.stack.plugins.module_utils.release.trial import Outcome


@pytest.mark.parametrize(
    ("step", "problem", "may"),
    [
        ("health", "GET /healthz answered 500", True),
        ("import", "OperationalError: no such table: model", True),
        ("dirty workers", "the dirty workers are not up: ml:Model: OperationalError: no such table: model", True),
        ("dirty workers", "the dirty workers are not up: ml:Model: ValueError: no weights", False),
        ("import", "ValueError: no weights", False),
        ("import", "ModuleNotFoundError: No module named 'x'", False),
        ("settings", "ValueError: no", False),
    ],
)
def test_a_failure_that_the_release_command_may_mend(step, problem, may):
    trial = Trial.__new__(Trial)
    trial.survey, trial.options = SimpleNamespace(wanted="new"), SimpleNamespace(root="/srv/app")
    trial.store = SimpleNamespace(path=lambda release: f"/srv/app/releases/{release}")
    assert trial._may_need_command(Outcome(step, problem, "", {})) == may


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("instance/app.db", "shared/instance/app.db"),
        ("data/uploads/../uploads/x", "shared/data/uploads/x"),
        ("wsgi.py", "releases/1/src/wsgi.py"),
        ("{root}/releases/1/src/instance/x", "shared/instance/x"),
        ("{root}/shared/made", "shared/made"),
        ("../../../../etc/hosts", "../etc/hosts"),
    ],
)
def test_a_path_is_followed_through_the_links_of_the_release(tmp_path, name, means):
    root = tmp_path / "app"
    source = root / "releases" / "1" / "src"
    (source / "data").mkdir(parents=True)
    (source / "instance").symlink_to(root / "shared" / "instance")
    (source / "data" / "uploads").symlink_to("../../../../shared/data/uploads")
    found = through_links(str(source), name.replace("{root}", str(root)))
    assert found == str((tmp_path / "app" / means) if not means.startswith("../") else tmp_path / means[3:])
