# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An app that somebody else has taken over reaches nothing of the others, nor of root, and is in nobody's way."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rig.host import HERE
from rig.load import Load, by_error
from site_of_many import Run, Site

FOE = {
    "flask_app_name": "foe",
    "flask_app_src": f"{Path(__file__).parent}/apps/foe/",
    "flask_app_bind": "127.0.0.1:5003",
    "flask_app_workers": 1,
    "flask_app_memory_max": "500MB",
}
STEADY = ("--path", "/", "--contains", '"hoard"', "--upload", "0")
LIGHT = (
    "--path", "/", "--contains", '"clock"', "--upload", "0", "--slow", "0", "--stream", "0", "--new", "1", "--keepalive", "1", "--idle", "1",
)  # fmt: skip
#: Seconds within which each playbook of a victim ends, on a machine that does much else.
IN_TIME = 60


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


class Foe:
    """The app, and what it is told to do over HTTP."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def deploy(self, **settings: Any) -> None:
        done = self.site.playbook("playbooks/deploy.yml", {**FOE, **settings}, self.site.settings)
        assert done.ok, done.text

    def runs(self, program: str, *words: str) -> Any:
        """What a program prints that the app runs."""
        query = "&".join(f"word={word}" for word in words)
        ask = (
            "import sys, urllib.request as r\n"
            f"asked = r.Request('http://127.0.0.1:5003/exec?{query}', sys.stdin.buffer.read(), method='POST')\n"
            "print(r.urlopen(asked, timeout=90).read().decode())"
        )
        source = Path(__file__).with_name(program).read_text()
        said = json.loads(self.site.run("python3", "-c", ask, text=source))
        assert said["code"] == 0, said
        return json.loads(said["out"])

    def alive(self, pids: Iterator[int]) -> set[int]:
        return {pid for pid in pids if self.site.run("sh", "-c", f"ls -d /proc/{pid} 2>/dev/null", check=False)}


@pytest.fixture
def foe(site: Site) -> Iterator[Foe]:
    made = Foe(site)
    made.deploy()
    yield made
    site.run("systemctl", "stop", "pygun-logrotate.service", check=False)
    done = site.playbook("playbooks/uninstall.yml", {"flask_app_name": "foe", "uninstall_data": True, "confirm": "foe"})
    assert done.ok, done.text


@contextlib.contextmanager
def in_time(what: str, seconds: float = IN_TIME) -> Iterator[None]:
    begun = time.monotonic()
    yield
    took = time.monotonic() - begun
    print(f"{what}: {took:.1f} s")
    assert took < seconds, what


def plays(site: Site, playbook: str, app: str = "", **settings: Any) -> Run:
    """A playbook for the victims, or the host. What is wrong with the foe it may say."""
    with in_time(f"{playbook} {app}"):
        done = site.playbook(f"playbooks/{playbook}.yml", {"flask_app_name": app} if app else {}, settings)
    assert done.ok or not app, done.text
    assert "Traceback" not in done.text and "unexpected" not in done.text, done.text
    return done


def tries(site: Site, foe: Foe, app: str) -> tuple[set[str], set[str]]:
    """What the foe reaches of an app, and what that app reaches of itself by the same program: that must be something."""
    pid = str(site.settled()[f"{app}-0"][0][0])
    own = site.run(
        "setpriv", f"--reuid={app}", f"--regid={app}", "--clear-groups", "python3", f"{HERE}/on_boundaries.py", app, pid
    )
    return set(foe.runs("on_boundaries.py", app, pid)), set(json.loads(own))


def test_an_app_that_attacks_costs_its_neighbours_nothing(site: Site, foe: Foe) -> None:  # noqa: PLR0915
    site.run("setpriv", "--reuid=hoard", "sh", "-c", "umask 077; echo secret > /dev/shm/of-hoard")
    site.new_version("hoard")
    guards = {name: site.settled()[name] for name in ("hoard-memory", "foe-memory")}
    steady = Load(site, "steady", options=STEADY)
    light = Load(site, "light", target="127.0.0.1:5002", options=LIGHT)
    with steady, light:
        # Each attack is carried out, and what it came to is said.
        for app in ("hoard", "clock"):
            reached, of_itself = tries(site, foe, app)
            own = {f"read /srv/{app}/current/src/wsgi.py", f"read /run/{app}", f"ask /run/{app}/{app}-0.sock"}
            assert of_itself >= own and len(of_itself) >= 10, of_itself
            assert not {one for one in reached if "/foe" not in one}, reached
        assert set(foe.runs("on_foe.py", "ports").values()) == {"Address already in use"}
        refused = foe.runs("on_foe.py", "of_root")
        assert len(refused) >= 12 and not [what for what, came in refused.items() if came == "done"], refused
        pids = foe.runs("on_foe.py", "daemons")
        assert foe.alive(pids.values()) == set(pids.values())
        written = foe.runs("on_foe.py", "texts")
        assert set(written.values()) == {"done"}, written

        # While all this is there, and its daemons run, everything works for the others.
        shown = plays(site, "status")
        assert "hoard" in shown.message and "\nERROR forged" not in shown.text and "\x1b[2J" not in shown.text
        examined = plays(site, "doctor")
        assert "record-unreadable (foe:foe-0)" in examined.message, examined.text
        assert "(hoard" not in examined.message and "(clock" not in examined.message, examined.text
        plays(site, "logs", "hoard")
        with in_time("deploy hoard"):
            site.deploy("hoard")
        plays(site, "restart", "clock")
        plays(site, "rollback", "hoard")
        for _ in range(2):  # what has been renamed is compressed the next time
            site.run("systemctl", "start", "--no-block", "pygun-logrotate.service")
            time.sleep(3)
        states = "ls --full-time /var/lib/pygun-logrotate/hoard.conf.status"
        rotated = site.run("sh", "-c", f"pgrep -x gzip >/dev/null && {states}")
        assert rotated, "the log of the foe is compressed meanwhile"
        assert {name: site.settled()[name] for name in guards} == guards, "a guard that crashes is started again"

        # Its own next deploy works as well, one that changes its program too, and ends what it has left behind.
        with in_time("deploy foe"):
            foe.deploy(flask_app_graceful_timeout=21)
        assert foe.alive(pids.values()) == set()
        pids = foe.runs("on_foe.py", "daemons")
    for load in (steady, light):
        assert load.totals["sent"] > 30
        assert load.totals["failed"] == 0, by_error(load.samples)
        print(load.name, load.totals)

    plays(site, "stop", "hoard")
    plays(site, "start", "hoard")
    with in_time("uninstall foe"):
        done = site.playbook(
            "playbooks/uninstall.yml", {"flask_app_name": "foe", "uninstall_data": True, "confirm": "foe"}
        )
    assert done.ok, done.text
    assert foe.alive(pids.values()) == set()
    site.run("rm", "/dev/shm/of-hoard")
