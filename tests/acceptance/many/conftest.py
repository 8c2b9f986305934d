# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The scenario's host, the SSH tunnel to its web page, and the browser that looks at it.

Run by the Molecule scenario `many`. By hand, once `./dev molecule many converge` has been run:

    ./dev run pytest tests/acceptance/many -k page

PYGUN_SCREENSHOT=1 also renews the picture of the web page in docs/.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The container host and the load are those of the scenario `lossless`.
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lossless"), str(HERE.parents[1] / "load")]

from page import Page, Tunnel  # noqa: E402
from site_of_many import Site  # noqa: E402

from tools import browser, containers  # noqa: E402

os.environ.setdefault("MOLECULE_SCENARIO_NAME", "many")  # the inventory asks for it


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    name = f"{containers.prefix()}-many-host"
    assert containers.inspect(name), f"there is no container {name}: run `./dev molecule many converge`"
    return Site(name, tmp_path_factory.mktemp("many"))


@pytest.fixture(scope="session")
def tunnel(site: Site) -> Iterator[Tunnel]:
    with Tunnel(site) as made:
        yield made


@pytest.fixture
def page(tunnel: Tunnel) -> Iterator[Page]:
    """A browser that has seen nothing yet."""
    with Page(browser.ensure(), tunnel.port) as made:
        yield made
