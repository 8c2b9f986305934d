# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which failures of a trial the release command may mend."""

from types import SimpleNamespace

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.activation.trial import Trial
from ansible_collections.pygun.stack.plugins.module_utils.release.trial import Outcome


@pytest.mark.parametrize(
    ("step", "problem", "baseline", "may"),
    [
        ("health", "GET /healthz answered 500", "old", True),
        ("import", "OperationalError: no such table: model", "old", True),
        (
            "dirty workers",
            "the dirty workers are not up: ml:Model: OperationalError: no such table: model",
            "old",
            True,
        ),
        ("dirty workers", "the dirty workers are not up: ml:Model: ValueError: no weights", "old", False),
        ("import", "ValueError: no weights", "", True),
        ("import", "ModuleNotFoundError: No module named 'x'", "", False),
        ("settings", "ValueError: no", "", False),
    ],
)
def test_a_failure_that_the_release_command_may_mend(step, problem, baseline, may):
    trial = Trial.__new__(Trial)
    trial.survey = SimpleNamespace(baseline=baseline)
    assert trial._may_need_command(Outcome(step, problem, "", {})) == may
