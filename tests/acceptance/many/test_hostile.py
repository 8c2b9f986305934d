# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An app that somebody else has taken over reaches nothing of the others, nor of root."""

from __future__ import annotations

import json

import pytest
from rig.host import HERE
from site_of_many import Site


@pytest.mark.parametrize("user", ["greeter", "nobody"])
def test_another_app_and_another_user_reach_nothing(site: Site, user: str) -> None:
    for app in ("hoard", "clock"):
        (master, *_), *_ = site.settled()[f"{app}-0"]
        group = site.run("id", "--group", "--name", user).strip()
        reached = site.run(
            "setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups",
            "python3", f"{HERE}/on_boundaries.py", app, str(master),
        )  # fmt: skip
        assert json.loads(reached) == []
