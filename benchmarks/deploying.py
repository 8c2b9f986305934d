# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a run of the playbook costs: first install, no change, another code; ours, the usual play, one module call."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rig.deploys import Source

from benchmarks import hosts, measure
from tools.shell import Failed, say

MANY_FILES = 10_000


def measure_all(mode: str) -> dict:
    """Run the part."""
    rounds = {"quick": 1, "short": 3, "full": 7}[mode]
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    calibrations: list[dict] = []
    found = {}
    try:
        for count in (1, 5, 10) if mode == "full" else (1,):
            found[f"{count} host{'s' if count > 1 else ''}"] = compare(
                count, Source(folder / f"on{count}"), rounds, calibrations
            )
        if mode == "full":
            source = Source(folder / "many")
            add_files(source.folder, MANY_FILES)
            found[f"1 host, {MANY_FILES:,} files"] = compare(1, source, rounds, calibrations)
    finally:
        shutil.rmtree(folder)
    return {"noise": measure.noise(calibrations), "calibration": calibrations, "settings": found}


def add_files(folder: Path, count: int) -> None:
    """A source tree of so many more files."""
    for number in range(count):
        file = folder / "data" / f"{number // 100:03}" / f"{number:05}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{number}\n" * 20)


def compare(count: int, source: Source, rounds: int, calibrations: list[dict]) -> dict:
    """Everything on so many fresh hosts of each side."""
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
        # One after the other, but where no figure is worth anything.
        with ThreadPoolExecutor(1 if rounds > 1 else 2) as pool:
            for side, installed in zip(sides, pool.map(lambda run: run(), sides.values()), strict=True):
                runs[side] = {"first install": [installed], "no change": [], "other code": []}
        for number in range(rounds):
            calibrations.append(measure.calibrate())
            say(f"Deploying, {count} host(s), round {number + 1} of {rounds}: no change, then other code.")
            runs["one module call"]["no change"].append(hosts.ping(ours))
            for side, run in sides.items():
                runs[side]["no change"].append(run())
                if runs[side]["no change"][-1].changed:
                    raise Failed(f"{side}: a run without a change changed something. See .cache/logs/bench-*.log.")
            source.version(f"2.{count}.{next(version)}")
            for side, run in sides.items():
                runs[side]["other code"].append(run())
                if not runs[side]["other code"][-1].changed:
                    raise Failed(f"{side}: other code changed nothing. See .cache/logs/bench-*.log.")
    return {
        side: {
            what: {key: measure.figure([one.figures()[key] for one in of]) for key in of[0].figures()}
            for what, of in by_what.items()
        }
        for side, by_what in runs.items()
    }
