# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An app that somebody else has taken over reaches nothing of the others, nor of root."""

from __future__ import annotations

import json
from typing import Any

from rig.host import HERE
from site_of_many import Site


def as_user(site: Site, user: str, program: str, *words: str) -> Any:
    """What a program prints that runs on the host as a user."""
    group = site.run("id", "--group", "--name", user).strip()
    become = ("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups")
    return json.loads(site.run(*become, "python3", f"{HERE}/{program}", *words))


def test_another_app_and_another_user_reach_nothing(site: Site) -> None:
    for app in ("hoard", "clock"):
        master = str(site.settled()[f"{app}-0"][0][0])
        own = as_user(site, app, "on_boundaries.py", app, master)
        tried = {
            f"read /etc/pygun/{app}.env",
            f"read /proc/{master}/mem",
            f"ask /run/{app}/{app}-0.sock",
            f"end pid {master}",
        }
        assert tried <= set(own), "by the same program an app reaches what is its own"
        for user in ("greeter", "nobody"):
            assert as_user(site, user, "on_boundaries.py", app, master) == []


def test_an_app_neither_takes_addresses_nor_damages_or_holds_what_is_roots(site: Site) -> None:
    said = as_user(site, "greeter", "on_attacks.py")
    assert len(said) >= 14
    assert {
        what: came for what, came in said.items() if came not in ("Permission denied", "Address already in use")
    } == {}
