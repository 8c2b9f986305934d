# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tests marked `full` run with PYGUN_FULL=1 only: others test the same thing once, and cheaper ones its variants.

pytest keeps the bytecode of tests and plugins in .cache/; the programs that tests start write none.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, settings

# A busy machine is no fault of what makes the examples. CI's own profile, where there is one, stays in force for the rest.
settings.register_profile(
    "busy",
    parent=settings.default,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("busy")
# The argument specs are read in many files, in each process: libyaml needs a tenth of the time.
yaml.safe_load = functools.partial(yaml.load, Loader=yaml.CSafeLoader)
sys.pycache_prefix = str(Path(__file__).parents[1] / ".cache" / "bytecode")
sys.dont_write_bytecode = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("PYGUN_FULL"):
        return
    full = [item for item in items if item.get_closest_marker("full")]
    if full:
        config.hook.pytest_deselected(items=full)
        items[:] = [item for item in items if item not in full]
