# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An app that leaks is restarted at its cap and loses nothing; and the unit has a limit of its own."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest
from rig.host import HERE
from rig.load import Load, by_error
from site_of_many import Site, differences

MB = 1024 * 1024
CAP = 150  # MB; what molecule/many/vars/hoard.yml says
ROUNDS = 5 if os.environ.get("PYGUN_FULL") else 1
QUICK = ("--path", "/", "--contains", '"hoard"', "--upload", "0", "--new-pause", "0.1", "--keepalive-pause", "0.1")


class Watch:
    """on_memory.py while something happens. Use as a context; afterwards `seen` is what it saw."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.stop = f"{HERE}/stop-watching"

    def __enter__(self) -> Watch:
        self.site.run("rm", "-f", self.stop)
        self.process = self.site.spawn(
            "python3", f"{HERE}/on_memory.py", "hoard", self.stop, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.site.run("touch", self.stop)
        out, error = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, error
        self.seen = json.loads(out)


def masters(site: Site) -> list[int]:
    """Those that are there: one that is being replaced is away for a moment."""
    seen = site.processes()
    return [seen[name][0][0] for name in ("hoard-0", "hoard-1") if name in seen]


def test_a_leaking_app_is_restarted_at_its_cap_and_loses_no_request(site: Site) -> None:
    before = site.settled()
    assert "hoard-memory" in before
    for _ in range(ROUNDS):
        old = masters(site)
        with Watch(site) as watch, Load(site, "memory", options=QUICK) as load, load.roll("the cap"):
            deadline, pieces = time.monotonic() + 180, 60  # more would meet the limit of the unit
            while set(masters(site)) & set(old):
                assert time.monotonic() < deadline, site.run("supervisorctl", "tail", "hoard-memory", "stderr")
                if pieces:
                    pieces -= 6
                    site.ask("hoard", "/keep?bytes=8000000", times=6)
                time.sleep(1)
            site.settled(60)
        assert load.totals["failed"] == 0, by_error(load.samples)
        assert {kind for kind, figures in load.result["kinds"].items() if figures["sent"]} >= {"new", "slow", "stream"}
        seen = watch.seen
        print(json.dumps({**seen, "sent": load.totals["sent"]}))
        assert seen["looked"] > 20
        assert seen["least_serving"] == 1, "one was away at a time, never both"
        for name, pids in seen["pids"].items():
            if name == "hoard-2":  # it holds the socket
                assert len(pids) == 1
                continue
            assert len(pids) >= 2, f"{name} was not replaced: {seen}"
            assert seen["most"][name] > CAP * MB, f"{name} was replaced below its cap: {seen}"

    assert differences(before, site.settled()) == {"hoard-0", "hoard-1"}
    told = site.run("supervisorctl", "tail", "-4000", "hoard-memory", "stderr")
    for name in ("hoard-0", "hoard-1"):
        assert f"{name} was restarted at " in told


def test_the_unit_has_its_limit_in_its_control_group(site: Site) -> None:
    limit = str(2 * 1024 * MB)
    assert site.run("systemctl", "show", "supervisord", "--property=MemoryMax", "--value").strip() == limit
    places = (
        "/sys/fs/cgroup/system.slice/supervisord.service/memory.max",
        "/sys/fs/cgroup/memory/system.slice/supervisord.service/memory.limit_in_bytes",
    )
    set_to = site.run("sh", "-c", f"cat {' '.join(places)} 2>/dev/null", check=False).split()
    if not set_to:
        pytest.skip("this machine does not give its containers the memory controller")
    assert set_to == [limit]
