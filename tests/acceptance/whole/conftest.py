# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The scenario's host, with a database, a queue and one app that has all that an app can have.

Run by the Molecule scenario `whole`. By hand, once `./dev molecule whole converge` has been run:

    ./dev run pytest tests/acceptance/whole
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lossless"), str(HERE.parents[1] / "load")]

from shop import Shop  # noqa: E402

from tools import containers  # noqa: E402

os.environ.setdefault("MOLECULE_SCENARIO_NAME", "whole")  # the inventory asks for it


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    name = f"{containers.prefix()}-whole-host"
    assert containers.inspect(name), f"there is no container {name}: run `./dev molecule whole converge`"
    return Shop(name, tmp_path_factory.mktemp("whole"))
