# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whatever one app leaves behind, or somebody does to its address, the other apps of the host serve."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from site_of_many import PORTS, Site

#: Of a user who runs nothing else: root of a container does not see which process of a user holds a socket.
FOREIGN = ["setpriv", "--reuid=games", "--regid=games", "--clear-groups", "python3", "-m", "http.server"]


@pytest.fixture
def foreign(site: Site) -> Iterator[str]:
    """supervisord starts while a foreign program listens on the port of one app, which has left a child behind."""
    child = site.ask("greeter", "/child")["pid"]
    site.run("systemctl", "stop", "supervisord")
    assert not site.run("sh", "-c", f"cat /proc/{child}/cmdline 2>/dev/null || true")
    process = site.spawn(*FOREIGN, str(PORTS["greeter"]), "--bind", "127.0.0.1")
    listens = f"ss -ltn | grep -q 127.0.0.1:{PORTS['greeter']}"
    site.run("sh", "-c", f"until {listens}; do sleep 0.1; done", timeout=30)
    try:
        site.run("systemctl", "start", "supervisord")
        yield site.run("pgrep", "-u", "games", "-f", "http.server").strip()
    finally:
        site.run("pkill", "-u", "games", "-f", "http.server", check=False)
        process.wait(20)
        site.settled()


def test_a_port_that_is_taken_costs_its_app_alone_until_it_is_free(site: Site, foreign: str) -> None:
    others = [app for app in PORTS if app != "greeter"]
    site.wait_for(lambda: all(map(site.answers, others)), "the other apps serve", seconds=60)
    assert {state for name, state in site.statuses().items() if name.startswith("greeter:")} == {"BACKOFF"}
    assert site.run("systemctl", "show", "supervisord", "--property=NRestarts", "--value").strip() == "0"

    holder = rf"pid {foreign} \(python3?[\d.]*\) of user games"
    shown = site.playbook("playbooks/status.yml")
    assert re.search(
        rf"greeter: its socket cannot be opened: .*{holder}.* listens on 127\.0\.0\.1:5001", shown.message
    ), shown.text
    assert not re.search(r"(hoard|clock)(:\S+)?: is ", shown.message)
    examined = site.playbook("playbooks/doctor.yml")
    assert "port-taken (greeter)" in examined.message, examined.text
    assert "instance-failed" not in examined.message, examined.text

    site.run("pkill", "-u", "games", "-f", "http.server")
    site.wait_for(lambda: site.answers("greeter"), "the app comes up by itself", seconds=30)
