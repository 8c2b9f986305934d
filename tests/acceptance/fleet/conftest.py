# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The scenario's hosts. Every test finds and leaves the app in service on all of them, and all behind the balancer.

Run by the Molecule scenario `fleet`. By hand, once `./dev molecule fleet converge` has been run:

    ./dev run pytest tests/acceptance/fleet -k drain

The tests of upgrades leave another port and another supervisor behind, and the last ones of all take everything away from the
balancer and one host: converge again after them.

PYGUN_FULL=1 does everything more often. PYGUN_FLEET=api1,api2 names the hosts, where there are fewer.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# The load, the report and the hosts are those of the scenario `lossless`.
sys.path[:0] = [str(HERE), str(HERE.parent / "lossless"), str(HERE.parents[1] / "load")]
os.environ.setdefault("MOLECULE_SCENARIO_NAME", "fleet")  # the inventory asks for it

from fleet import HOSTS, Fleet  # noqa: E402
from rig import report as reports  # noqa: E402

FULL = bool(os.environ.get("PYGUN_FULL"))
reports.FILE = reports.FILE.with_name("fleet.json")
REPORT: pytest.StashKey[reports.Report] = pytest.StashKey()


@pytest.fixture(scope="session")
def rounds() -> int:
    """How often everything is done."""
    return 3 if FULL else 1


@pytest.fixture(scope="session")
def whole_fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    names = os.environ.get("PYGUN_FLEET")
    return Fleet(tmp_path_factory.mktemp("fleet"), tuple(names.split(",")) if names else HOSTS)


@pytest.fixture
def fleet(whole_fleet: Fleet) -> Fleet:
    whole_fleet.wait_for_servers()
    return whole_fleet


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> reports.Report:
    made = reports.Report(FULL)
    request.config.stash[REPORT] = made
    return made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash.get(REPORT, None)
    if report is None:
        return
    report.write()
    terminalreporter.section(f"measured (all of it: {reports.FILE})")
    for line in report.lines():
        terminalreporter.write_line(line)
