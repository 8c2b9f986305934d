# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything on the host is changed in turn, and only its own processes are others afterwards."""

from __future__ import annotations

import pytest
from site_of_many import Site, differences


@pytest.mark.parametrize("app", ["hoard", "greeter", "clock"])
def test_a_new_release_of_an_app_replaces_its_processes_alone(app: str, site: Site) -> None:
    before = site.settled()
    version = site.new_version(app)
    site.deploy(app)
    after = site.settled()
    assert differences(before, after) == {f"{app}-0", f"{app}-1"}
    assert site.ask(app)["version"] == version

    again = site.deploy(app)
    assert again.changed == 0, again.text
    assert differences(after, site.settled()) == set()
