# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An app that somebody else has taken over reaches nothing of the others, nor of root."""

from __future__ import annotations

from site_of_many import Site


def test_another_app_and_another_user_reach_nothing(site: Site) -> None:
    for app in ("hoard", "clock"):
        master = str(site.settled()[f"{app}-0"][0][0])
        own = site.as_user(app, "on_boundaries.py", app, master)
        tried = {
            f"read /etc/pygun/{app}.env",
            f"read /proc/{master}/mem",
            f"ask /run/{app}/{app}-0.sock",
            f"end pid {master}",
        }
        assert tried <= set(own), "by the same program an app reaches what is its own"
        for user in ("greeter", "nobody"):
            assert site.as_user(user, "on_boundaries.py", app, master) == []


def test_an_app_neither_takes_addresses_nor_damages_or_holds_what_is_roots(site: Site) -> None:
    said = {
        what: came
        for attack in ("ports", "of_root")
        for what, came in site.as_user("greeter", "on_attacks.py", "greeter", attack).items()
    }
    assert len(said) >= 14
    assert {
        what: came for what, came in said.items() if came not in ("Permission denied", "Address already in use")
    } == {}


def test_an_app_does_not_remove_the_socket_by_which_its_next_instance_gets_its_address(site: Site) -> None:
    code = "import os; os.rename('/run/clock/keeper.sock', '/run/clock/mine')"
    said = site.run("sh", "-c", f'setpriv --reuid=clock --regid=clock --clear-groups python3 -c "{code}" 2>&1 || true')
    assert "Operation not permitted" in said
