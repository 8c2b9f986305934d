# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An app that somebody else has taken over attacks beside two victims under load. They lose nothing, and every playbook works for them."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from rig.load import Load, by_error
from site_of_many import Run, Site

HERE = Path(__file__).parent
FOE = {
    "flask_app_name": "foe",
    "flask_app_src": f"{HERE}/apps/foe/",
    "flask_app_bind": "127.0.0.1:5003",
    "flask_app_workers": 1,
    "flask_app_memory_max": "500MB",
}
STEADY = (
    "--path", "/", "--contains", '"hoard"', "--upload", "0", "--slow", "2", "--stream", "1", "--new", "1", "--keepalive", "1", "--idle", "2",
    "--new-rate", "10", "--keepalive-rate", "10",
)  # fmt: skip
LIGHT = (
    "--path", "/", "--contains", '"clock"', "--upload", "0", "--slow", "0", "--stream", "0", "--new", "1", "--keepalive", "1", "--idle", "1",
    "--new-rate", "5", "--keepalive-rate", "5",
)  # fmt: skip
#: Seconds within which each playbook ends, on a machine that does much else.
IN_TIME = 120
REFUSED = {"Permission denied", "Address already in use"}


class Foe:
    """The app, and what it is told to do over HTTP."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def deploy(self, **settings: Any) -> None:
        done = self.site.playbook("playbooks/deploy.yml", {**FOE, **settings}, self.site.settings)
        assert done.ok, done.text

    def uninstall(self) -> None:
        told = {"flask_app_name": "foe", "uninstall_data": True, "confirm": "foe"}
        done = self.site.playbook("playbooks/uninstall.yml", told)
        assert done.ok, done.text

    def runs(self, program: str, *words: str) -> Any:
        """What an on_*.py prints that the app runs."""
        query = "&".join(f"word={word}" for word in words)
        ask = (
            "import sys, urllib.request as r\n"
            f"asked = r.Request('http://127.0.0.1:5003/exec?{query}', sys.stdin.buffer.read(), method='POST')\n"
            "print(r.urlopen(asked, timeout=90).read().decode())"
        )
        said = json.loads(self.site.run("python3", "-c", ask, text=(HERE / program).read_text()))
        assert said["code"] == 0, said
        return json.loads(said["out"])

    def alive(self, pids: Iterable[int]) -> set[int]:
        return {pid for pid in pids if self.site.run("sh", "-c", f"ls -d /proc/{pid} 2>/dev/null", check=False)}


@pytest.fixture
def foe(site: Site) -> Iterator[Foe]:
    made = Foe(site)
    made.deploy()
    yield made
    site.run("systemctl", "stop", "pygun-logrotate.service")
    if site.run("sh", "-c", "ls -d /srv/foe 2>/dev/null", check=False):
        made.uninstall()


@contextlib.contextmanager
def in_time(what: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    took = time.monotonic() - begun
    print(f"{what}: {took:.1f} s")
    assert took < IN_TIME, what


def plays(site: Site, playbook: str, app: str = "", **settings: Any) -> Run:
    """A playbook for a victim, or for the host. What is wrong with the foe it may say."""
    with in_time(f"{playbook} {app}"):
        done = site.playbook(f"playbooks/{playbook}.yml", {"flask_app_name": app} if app else {}, settings)
    assert done.ok or not app, done.text
    assert "Traceback" not in done.text and "unexpected" not in done.text, done.text
    return done


@pytest.mark.full  # several minutes; test_hostile.py and the component tests try the single boundaries in each run
def test_an_app_that_attacks_costs_its_neighbours_nothing(site: Site, foe: Foe) -> None:  # noqa: PLR0915
    site.run("setpriv", "--reuid=hoard", "sh", "-c", "umask 077; echo secret > /dev/shm/of-hoard")
    site.new_version("hoard")
    site.run("systemctl", "start", "pygun-logrotate.service")  # it has a state of the foe, too
    guards = {name: site.settled()[name] for name in ("hoard-memory", "foe-memory")}
    steady = Load(site, "steady", options=STEADY)
    light = Load(site, "light", target="127.0.0.1:5002", options=LIGHT)
    with steady, light:
        # Each attack is carried out by the app, and what it came to is known.
        for app in ("hoard", "clock"):
            master = str(site.settled()[f"{app}-0"][0][0])
            own = site.as_user(app, "on_boundaries.py", app, master)
            assert {f"read /srv/{app}/current/src/wsgi.py", f"ask /run/{app}/{app}-0.sock"} <= set(own)
            assert foe.runs("on_boundaries.py", app, master) == []
        refused = foe.runs("on_attacks.py", "foe", "ports") | foe.runs("on_attacks.py", "foe", "of_root")
        assert len(refused) >= 14
        assert {what: came for what, came in refused.items() if came not in REFUSED} == {}
        left = foe.runs("on_attacks.py", "foe", "daemons").values()
        assert foe.alive(left) == set(left)
        written = foe.runs("on_attacks.py", "foe", "texts")
        assert set(written.values()) == {"done"}, written

        # All this is there, and its daemons run, while an operator works with the others.
        with ThreadPoolExecutor() as at_once:
            asked = [at_once.submit(plays, site, *words) for words in (("status",), ("doctor",), ("logs", "hoard"))]
            shown, examined, _ = [one.result() for one in asked]
        assert "hoard" in shown.message and "\nERROR forged" not in shown.text and "\x1b[2J" not in shown.text
        assert "record-unreadable (foe:foe-0)" in examined.message, examined.text
        assert "(hoard" not in examined.message and "(clock" not in examined.message, examined.text
        with ThreadPoolExecutor() as at_once, in_time("deploy hoard"):
            restarted = at_once.submit(plays, site, "restart", "clock")
            site.deploy("hoard")
            restarted.result()
        plays(site, "rollback", "hoard")

        # What the first rotation has renamed, the second compresses.
        states = "stat --format=%y /var/lib/pygun-logrotate/{hoard,clock}.conf.status"
        before = site.run("bash", "-c", states)
        for mode in ("--wait", "--no-block"):
            assert set(foe.runs("on_attacks.py", "foe", "logs").values()) == {"done"}
            site.run("systemctl", "start", mode, "pygun-logrotate.service")
        time.sleep(3)
        assert site.run("pgrep", "-x", "gzip"), "the log of the foe is compressed"
        after = site.run("bash", "-c", states)
        assert not set(before.splitlines()) & set(after.splitlines()), "the logs of others are rotated meanwhile"
        site.run("systemctl", "stop", "pygun-logrotate.service")
        assert {name: site.settled()[name] for name in guards} == guards, "a guard that crashes is started again"

        # Its own next deploy works as well, one that changes its program too, and ends what it has left behind.
        with in_time("deploy foe"):
            foe.deploy(flask_app_graceful_timeout=21)
        assert foe.alive(left) == set()
        left = foe.runs("on_attacks.py", "foe", "daemons").values()
        assert foe.alive(left) == set(left)
    for load in (steady, light):
        print(load.name, load.totals)
        assert load.totals["sent"] > 100
        assert load.totals["failed"] == 0, by_error(load.samples)

    # A restart of supervisord frees the addresses of the others for a moment.
    site.run("systemctl", "restart", "supervisord")
    site.settled()
    assert site.answers("hoard") and site.answers("clock")
    plays(site, "stop", "hoard")
    plays(site, "start", "hoard")
    with in_time("uninstall foe"):
        foe.uninstall()
    assert foe.alive(left) == set()
    site.run("rm", "/dev/shm/of-hoard")
