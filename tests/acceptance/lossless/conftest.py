# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The scenario's host with its two apps, and what every test leaves behind: the default service, serving.

Run by the Molecule scenario `lossless`. By hand, once `./dev molecule lossless converge` has been run:

    ./dev run pytest tests/acceptance/lossless -k rolls

PYGUN_FULL=1 does everything as often as the acceptance asks for.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "load")]

from rig.deploys import App  # noqa: E402
from rig.host import Host  # noqa: E402
from rig.report import FILE, Report  # noqa: E402

from tools import containers  # noqa: E402

FULL = bool(os.environ.get("PYGUN_FULL"))
os.environ.setdefault("MOLECULE_SCENARIO_NAME", "lossless")  # the inventory asks for it


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether everything is done as often as the acceptance asks for, or only as often as it takes to see it fail."""
    return FULL


@pytest.fixture(scope="session")
def host() -> Host:
    name = f"{containers.prefix()}-lossless-host"
    assert containers.inspect(name), f"there is no container {name}: run `./dev molecule lossless converge`"
    return Host(name)


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lossless")


@pytest.fixture(scope="session")
def sample(scratch: Path) -> App:
    """The service under load."""
    return App("sample", scratch)


@pytest.fixture(scope="session")
def httpbin(scratch: Path) -> App:
    """Its neighbour on the same host."""
    return App("httpbin", scratch)


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Report:
    made = Report(FULL)
    request.config.stash[REPORT] = made
    return made


REPORT: pytest.StashKey[Report] = pytest.StashKey()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash.get(REPORT, None)
    if report is None:
        return
    report.write()
    terminalreporter.section(f"measured (all of it: {FILE})")
    for line in report.lines():
        terminalreporter.write_line(line)
