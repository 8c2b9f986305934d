# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The scenario's host with its two apps: one under load, one that logs what it is told to.

Run by the Molecule scenario `logs`. By hand, once `./dev molecule logs converge` has been run:

    ./dev run pytest tests/acceptance/logs -k hostile

PYGUN_FULL=1 keeps the load up for longer.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# The container host and the load are those of the scenario `lossless`.
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lossless"), str(HERE.parents[1] / "load")]

from log_host import LogHost  # noqa: E402

from tools import containers  # noqa: E402

os.environ.setdefault("MOLECULE_SCENARIO_NAME", "logs")  # the inventory asks for it


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether the load is kept up for as long as it takes to trust it, or only as long as it takes to see it fail."""
    return bool(os.environ.get("PYGUN_FULL"))


@pytest.fixture(scope="session")
def host() -> LogHost:
    name = f"{containers.prefix()}-logs-bookworm"
    assert containers.inspect(name), f"there is no container {name}: run `./dev molecule logs converge`"
    return LogHost(name)


@pytest.fixture(scope="session")
def measured(request: pytest.FixtureRequest) -> list[str]:
    """Sentences for the end of the run."""
    return request.config.stash.setdefault(MEASURED, [])


MEASURED: pytest.StashKey[list[str]] = pytest.StashKey()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(MEASURED, []):
        terminalreporter.write_line(line)
