# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A process of the stack is killed, and what must be so afterwards."""

from __future__ import annotations

import time

from rig.host import Host
from rig.load import Load

PORT = "5000"


def crash(host: Host, what: str) -> tuple[dict, Load]:
    with Load(host, f"crash-{what}") as load:
        time.sleep(4)  # every kind is in flight
        with load.roll(what):
            crashed = host.tell("kill", "sample", what)
        time.sleep(4)
    return crashed, load


def everything_is_as_it_should_be(host: Host) -> None:
    """Nothing of the killed one is left; above all nobody but the present processes holds the port."""
    deadline = time.monotonic() + 60
    while True:  # what drains may take as long as its requests
        seen = host.observe("sample")
        known = {1, seen["supervisord"], *seen["keepers"]} | {
            pid for one in seen["instances"] for pid in (one["pid"], *one["workers"])
        }
        sockets = host.tell("listeners", "sample", PORT)
        if (
            len(sockets) == 1 and set(*sockets.values()) <= known and not seen["strangers"]
        ) or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert len(sockets) == 1, sockets
    assert set(*sockets.values()) <= known, f"{sockets} are held by others than {known}"
    assert seen["strangers"] == []
    assert len(seen["instances"]) == 2
    assert set(seen["statuses"].values()) == {"RUNNING"}


def note(crashed: dict) -> str:
    return f"all ready after {crashed['ready'] - crashed['at']:.2f} s, RUNNING after {crashed['running'] - crashed['at']:.1f} s"
