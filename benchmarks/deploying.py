# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a run of the playbook costs: first install, no change, another code; ours, the usual play, one module call.

And how a run without a change grows with the hosts, by how many of them are worked on at once.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rig.deploys import Source

from benchmarks import hosts, measure
from tools.shell import Failed, say

MANY_FILES = 10_000
FORKS = (1, 5, 10)


def measure_all(mode: str) -> dict:
    """Run the part."""
    rounds = {"quick": 1, "headline": 2, "short": 3, "full": 7}[mode]
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    calibrations: list[dict] = []
    found = {}
    try:
        for count in (1, 5, 10) if mode == "full" else (1,):
            found[f"{count} host{'s' if count > 1 else ''}"] = compare(
                count, Source(folder / f"on{count}"), rounds, calibrations, mode
            )
        if mode == "full":
            found["10 hosts, by forks"] = at_once(10, Source(folder / "forks"), rounds, calibrations)
            source = Source(folder / "many")
            add_files(source.folder, MANY_FILES)
            found[f"1 host, {MANY_FILES:,} files"] = compare(1, source, rounds, calibrations, mode)
    finally:
        shutil.rmtree(folder)
    return {"noise": measure.noise(calibrations), "calibration": calibrations, "settings": found}


def add_files(folder: Path, count: int) -> None:
    """A source tree of so many more files."""
    for number in range(count):
        file = folder / "data" / f"{number // 100:03}" / f"{number:05}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{number}\n" * 20)


def compare(count: int, source: Source, rounds: int, calibrations: list[dict], mode: str) -> dict:
    """Everything on so many fresh hosts of each side; for the headline only what the README's table needs."""
    ours = [f"ours{number:02}" for number in range(1, count + 1)]
    usual = [f"usual{number:02}" for number in range(1, count + 1)]
    sides = {
        "ours": lambda: hosts.ours("deploy", ours, source),
        "the usual play": lambda: hosts.usual(usual, source),
    }
    runs: dict[str, dict[str, list[hosts.Run]]] = {"one module call": {"no change": []}}
    version = itertools.count(1)
    with hosts.running(*ours, *usual):
        calibrations.append(measure.calibrate())
        say(f"Deploying, {count} host(s): first install of ours and of the usual play.")

        def each(sides: dict[str, Callable[[], hosts.Run]], side_by_side: bool) -> dict[str, hosts.Run]:
            """Side by side is faster, and the figures are worth nothing."""
            with ThreadPoolExecutor(2 if side_by_side else 1) as pool:
                return dict(zip(sides, pool.map(lambda run: run(), sides.values()), strict=True))

        for side, installed in each(sides, mode in ("quick", "headline")).items():
            runs[side] = {"first install": [installed], "no change": [], "other code": []}
        for number in range(rounds):
            calibrations.append(measure.calibrate())
            say(f"Deploying, {count} host(s), round {number + 1} of {rounds}: no change, then other code.")
            runs["one module call"]["no change"].append(hosts.ping(ours))
            for side, run in each(sides if mode != "headline" else {"ours": sides["ours"]}, mode == "quick").items():
                runs[side]["no change"].append(unchanged(side, run))
            source.version(f"2.{count}.{next(version)}")
            for side, run in each(sides, mode == "quick").items():
                runs[side]["other code"].append(run)
                if not run.changed:
                    raise Failed(f"{side}: other code changed nothing. See .cache/logs/bench-*.log.")
    return summary(runs)


def at_once(count: int, source: Source, rounds: int, calibrations: list[dict]) -> dict:
    """A run without a change on so many hosts, with more and more of them worked on at once."""
    ours = [f"ours{number:02}" for number in range(1, count + 1)]
    names = {forks: f"no change, {forks} at once" for forks in FORKS}
    runs: dict[str, dict[str, list[hosts.Run]]] = {
        side: {name: [] for name in names.values()} for side in ("one module call", "ours")
    }
    with hosts.running(*ours):
        say(f"Deploying, {count} host(s): first install of ours.")
        hosts.ours("deploy", ours, source, max(FORKS))
        for number in range(rounds):
            calibrations.append(measure.calibrate())
            say(f"Deploying, {count} host(s), round {number + 1} of {rounds}: no change, with {FORKS} at once.")
            for forks, name in names.items():
                runs["one module call"][name].append(hosts.ping(ours, forks))
                runs["ours"][name].append(unchanged("ours", hosts.ours("deploy", ours, source, forks)))
    return summary(runs)


def unchanged(side: str, run: hosts.Run) -> hosts.Run:
    """The run, which had nothing to do."""
    if run.changed:
        raise Failed(f"{side}: a run without a change changed something. See .cache/logs/bench-*.log.")
    return run


def summary(runs: dict[str, dict[str, list[hosts.Run]]]) -> dict:
    """Side -> what was done -> figures."""
    return {
        side: {
            what: {key: measure.figure([one.figures()[key] for one in of]) for key in of[0].figures()}
            for what, of in by_what.items()
            if of
        }
        for side, by_what in runs.items()
    }
