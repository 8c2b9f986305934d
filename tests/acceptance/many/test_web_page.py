# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""supervisor's web page in a real browser."""

from __future__ import annotations

import os
import re
import socket

import pytest
from page import PASSWORD, USER, Page
from rig.host import ROOT
from site_of_many import Site, differences

PICTURE = ROOT / "docs" / "supervisor-web-page.png"
LIMIT = 100 * 1024  # bytes of a picture in the repository


@pytest.mark.parametrize(
    "credentials",
    [
        pytest.param("", id="no password"),
        pytest.param(f"{USER}:another-password", id="a wrong password"),
        # component tests ask with these, without a browser
        pytest.param(f"{USER}:", id="an empty password", marks=pytest.mark.full),
        pytest.param(f"someone:{PASSWORD}", id="a wrong user", marks=pytest.mark.full),
    ],
)
def test_the_page_is_refused(credentials: str, page: Page) -> None:
    assert page.open(credentials) == 401
    assert "hoard" not in page.text()
    assert page.open() == 401, "it must not have let us in for later"


def test_the_right_password_shows_every_program_running(site: Site, page: Page) -> None:
    page.log_in()
    rows = page.rows()
    assert set(rows) == set(site.statuses())
    assert {"hoard:hoard-0", "hoard:hoard-1", "greeter:greeter-0", "clock:clock-1"} <= set(rows)
    for name, (state, description, *_) in rows.items():
        assert state == "running", rows[name]
        assert re.match(r"pid \d+, uptime \d+:\d+:\d+", description), rows[name]
    assert "Supervisor" in page.text()


def test_restarting_one_instance_replaces_that_one_alone(site: Site, page: Page) -> None:
    before = site.settled()
    page.log_in()
    page.follow("greeter:greeter-0", "Restart")
    page.wait(lambda: "Process greeter:greeter-0 restarted" in page.text(), "the message that it was restarted", 60)
    after = site.settled()
    assert differences(before, after) == {"greeter-0"}
    master = after["greeter-0"][0][0]
    assert page.rows()["greeter:greeter-0"][1].startswith(f"pid {master},")
    assert site.ask("greeter")["app"] == "greeter"


def test_the_page_shows_the_end_of_an_instances_log(site: Site, page: Page) -> None:
    site.ask_each("hoard", "looked-for")
    page.log_in()
    page.follow("hoard:hoard-1", "hoard:hoard-1")
    page.newest_window()
    page.wait(lambda: "looked-for" in page.text(), "the lines of the log")
    assert "/tail.html?processname=hoard" in page.driver.current_url


def test_the_page_follows_an_instances_log_as_it_grows(site: Site, page: Page) -> None:
    page.log_in()
    page.follow("hoard:hoard-0", "Tail -f Stdout")
    page.newest_window()
    page.wait(lambda: "/logtail/" in page.driver.current_url, "the log")
    site.ask_each("hoard", "while-it-was-open")
    page.wait(lambda: "while-it-was-open" in page.text(), "the lines that were written meanwhile")


def test_a_picture_of_the_page(site: Site, page: Page) -> None:
    """Kept beside the logs; in the documentation with PYGUN_SCREENSHOT=1."""
    page.log_in()
    asked = bool(os.environ.get("PYGUN_SCREENSHOT"))
    path = PICTURE if asked else ROOT / ".cache" / "logs" / PICTURE.name
    page.picture(path)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert 5000 < path.stat().st_size < LIMIT
    assert PICTURE.exists() and PICTURE.stat().st_size < LIMIT, "renew it with PYGUN_SCREENSHOT=1"


def test_the_page_is_not_reached_without_the_tunnel(site: Site) -> None:
    with socket.create_connection((site.address(), 22), timeout=5):
        pass  # the host itself is in reach
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((site.address(), 9001), timeout=5)
