# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The scenario's host with its one app, and what every test leaves behind: a host of which the doctor says that all is well.

Run by the Molecule scenario `doctor`. By hand, once `./dev molecule doctor converge` has been run:

    ./dev run pytest tests/acceptance/doctor -k port
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from patient import Patient  # noqa: E402

from tools import containers  # noqa: E402

os.environ.setdefault("MOLECULE_SCENARIO_NAME", "doctor")  # the inventory asks for it


@pytest.fixture(scope="session")
def patient() -> Patient:
    name = f"{containers.prefix()}-doctor-host"
    assert containers.inspect(name), f"there is no container {name}: run `./dev molecule doctor converge`"
    made = Patient(name)
    made.wait_until_well()
    return made
