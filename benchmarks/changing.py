# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What callers notice of a deploy, a restart and a rollback: ours, a program that is restarted, the usual play."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from load_report import Roll, Sample, percentiles, touches
from rig.deploys import Source
from rig.host import Host
from rig.load import CALM, VERSIONS, Load, by_error

from benchmarks import hosts, measure
from tools.shell import Failed, say

#: mode -> deploys, restarts and rollbacks of ours and of the others
TIMES = {
    "quick": ((1, 0, 0), (1, 0, 0)),
    "headline": ((1, 1, 1), (1, 0, 0)),
    "short": ((2, 2, 2), (2, 2, 2)),
    "full": ((20, 10, 10), (5, 5, 5)),
}
CODE = "/srv/usual/app/scoring/__init__.py"

#: What is done -> a function that does it, and the version that answers afterwards; "" where it stays.
Change = Callable[[], str]


def measure_all(mode: str) -> dict:
    """Run the part."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    ours, usual = Source(folder / "ours"), Source(folder / "usual")
    versions = (f"3.0.{number}" for number in itertools.count(1))
    calibrations = []
    found = {}

    def on_host(name: str, sides: dict[str, dict[str, Change]]) -> None:
        for side, changes in sides.items():
            calibrations.append(measure.calibrate())
            found[side] = under_load(
                Host(hosts.name(name)),
                side,
                changes,
                TIMES[mode][side != "ours"],
                CALM if mode == "quick" else VERSIONS,
            )

    try:
        with hosts.running("ours01", "usual01"), ThreadPoolExecutor(2) as pool:
            say("Changing: deploy ours and the usual play.")
            deploys = (lambda: hosts.ours("deploy", ["ours01"], ours), lambda: hosts.usual(["usual01"], usual))
            list(pool.map(lambda deploy: deploy(), deploys))
            host = Host(hosts.name("usual01"))
            sides = {
                "a program, restarted": of_program(host, versions),
                "the usual play": of_usual(host, usual, versions),
            }
            loads = (lambda: on_host("ours01", {"ours": of_ours(ours, versions)}), lambda: on_host("usual01", sides))
            run = pool.map if mode == "quick" else map  # side by side, no figure is worth anything
            list(run(lambda load: load(), loads))
    finally:
        shutil.rmtree(folder)
    calibrations.append(measure.calibrate())
    order = ("ours", "a program, restarted", "the usual play")
    return {
        "noise": measure.noise(calibrations),
        "calibration": calibrations,
        "sides": {side: found[side] for side in order},
    }


def of_ours(source: Source, versions: Iterator[str]) -> dict[str, Change]:
    deployed: list[str] = []

    def deploy() -> str:
        deployed.append(next(versions))
        hosts.ours("deploy", ["ours01"], source.version(deployed[-1]))
        return deployed[-1]

    def restart() -> str:
        hosts.ours("restart", ["ours01"], source)
        return ""

    def rollback() -> str:
        hosts.ours("rollback", ["ours01"], source)
        return "another"

    return {"deploy": deploy, "restart": restart, "rollback": rollback}


def of_program(host: Host, versions: Iterator[str]) -> dict[str, Change]:
    """By hand on the host: the file is replaced, the program restarted."""

    def restart() -> str:
        host.run("supervisorctl", "restart", "usual")
        return ""

    def deploy() -> str:
        version = next(versions)
        host.run("sed", "-i", f's/^__version__ = .*/__version__ = "{version}"/', CODE)
        restart()
        return version

    return {"deploy": deploy, "restart": restart, "rollback": deploy}


def of_usual(host: Host, source: Source, versions: Iterator[str]) -> dict[str, Change]:
    """It has no way back but another deploy."""

    def deploy() -> str:
        version = next(versions)
        hosts.usual(["usual01"], source.version(version))
        return version

    def restart() -> str:
        host.run("supervisorctl", "restart", "usual")
        return ""

    return {"deploy": deploy, "restart": restart, "rollback": deploy}


def under_load(
    host: Host, side: str, changes: dict[str, Change], times: tuple[int, int, int], options: tuple[str, ...]
) -> dict:
    """Make the changes in turn while all kinds of requests are sent."""
    left = dict(zip(changes, times, strict=True))
    done: list[tuple[str, float, str]] = []  # what, seconds, version
    with Load(host, side.replace(" ", "-").replace(",", ""), options=options) as load:
        while any(left.values()):
            for what, change in changes.items():
                if not left[what]:
                    continue
                left[what] -= 1
                say(f"Changing, {side}: {what}, {left[what]} to go.")
                time.sleep(3)
                began = time.monotonic()
                with load.roll(what):
                    version = change()
                done.append((what, time.monotonic() - began, version))
        time.sleep(5)  # what is cut off by the last one ends in here
    rolls = [Roll(one["begin"], one["end"], one["label"]) for one in load.result["rolls"]]
    if len(rolls) != len(done):
        raise Failed(f"{side}: {len(done)} changes were made and {len(rolls)} seen.")
    by_what: dict[str, list[dict]] = {}
    for roll, (what, seconds, version), after in zip(rolls, done, [*rolls[1:], None], strict=True):
        until = after.begin if after else max(one.start for one in load.samples)
        by_what.setdefault(what, []).append({"seconds": seconds, **seen(load.samples, roll, until, version)})
    return {
        "sent": load.totals["sent"],
        "failed": load.totals["failed"],
        "errors": by_error(load.samples),
        "changes": {what: summary(each) for what, each in by_what.items()},
    }


def seen(samples: list[Sample], roll: Roll, until: float, version: str) -> dict:
    """What callers noticed of one change; `until` is when the next one began.

    Requests that a restart cuts off may end after the command: all that began before the next change count.
    """
    those = [one for one in samples if touches(one, Roll(roll.begin, until, ""))]
    delays = percentiles([one.seconds - one.planned for one in those if not one.error and one.start <= roll.end])
    everywhere = None
    if version:
        answered = [one for one in those if one.answered_by and one.start >= roll.begin]
        last = max(answered, key=lambda one: one.start).answered_by if answered else ""
        old = [one.start for one in answered if one.answered_by != last]
        if version != last and not (version == "another" and old):
            raise Failed(f"After a {roll.label} {last or 'nobody'} answers and not {version}.")
        new = [one.start + one.seconds for one in answered if one.answered_by == last]
        everywhere = max(max(old, default=roll.begin), min(new)) - roll.begin
    return {
        "failed": sum(bool(one.error) for one in those),
        "p99_ms": delays and delays["p99"],
        "everywhere": everywhere,
    }


def summary(each: list[dict]) -> dict:
    """Failed requests in all, the rest as figures."""
    found = {"times": len(each), "failed": sum(one["failed"] for one in each)}
    for key in ("seconds", "p99_ms", "everywhere"):
        found[key] = measure.figure([one[key] for one in each])
    return found
