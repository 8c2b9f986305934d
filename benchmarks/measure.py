# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Processor time, memory, the machine's own noise, and figures with their spread."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")

#: A figure whose middle half is wider than this share of its median says nothing.
WIDEST = 0.25
#: The machine is noisy when the calibration loop took this much longer than in the best one, or than its processor time.
SLOWEST = 1.25

LOOP = """
import time
wall, cpu = time.perf_counter(), time.process_time()
x = 1
for _ in range(2_000_000):
    x = x * 31 % 1_000_003
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


def processors() -> int:
    return len(os.sched_getaffinity(0))


def _stat(pid: int) -> tuple[int, int]:
    """Parent and ticks of a process, with those of its children that have ended and were waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return int(fields[1]), sum(map(int, fields[11:15]))


def tree(roots: Iterable[int]) -> dict[int, int]:
    """Every living process of these and below them: pid -> ticks."""
    ticks: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parent, spent = _stat(int(name))
            except OSError:  # it has just ended
                continue
            ticks[int(name)] = spent
            children.setdefault(parent, []).append(int(name))
    found: dict[int, int] = {}
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid in ticks and pid not in found:
            found[pid] = ticks[pid]
            waiting += children.get(pid, [])
    return found


def cpu_seconds(roots: Iterable[int]) -> float:
    """Processor time of process trees since they began, user and system, the ended children included."""
    return sum(tree(roots).values()) / TICKS


def memory(roots: Iterable[int]) -> int:
    """Bytes that process trees take (PSS: what is shared counts once)."""
    kibibytes = 0
    for pid in tree(roots):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                kibibytes += int(line.split()[1])
    return kibibytes * 1024


def calibrate() -> dict[str, float]:
    """A fixed piece of work on every processor at once: its seconds on the clock, and on the processor, at worst."""
    loops = [
        subprocess.Popen([sys.executable, "-I", "-c", LOOP], stdout=subprocess.PIPE, text=True)
        for _ in range(processors())
    ]
    told = [[float(word) for word in loop.communicate()[0].split()] for loop in loops]
    wall, cpu = max(told, key=lambda both: both[0] / both[1])
    return {"wall": max(one[0] for one in told), "waited": wall / cpu}


def noise(calibrations: Sequence[dict[str, float]]) -> str:
    """What is wrong with the machine during these calibrations; empty if it was quiet."""
    best = min(one["wall"] for one in calibrations)
    noisy = [one for one in calibrations if one["wall"] > SLOWEST * best or one["waited"] > SLOWEST]
    if 4 * len(noisy) <= len(calibrations):
        return ""
    worst = max(max(one["wall"] / best, one["waited"]) for one in noisy)
    return f"the same work took up to {worst:.1f} times as long as it should, in {len(noisy)} of {len(calibrations)} calibrations"


def figure(taken: Sequence[float | None]) -> dict[str, Any] | None:
    """Median, middle half and number of values; whether they say anything. None where nothing could be measured."""
    values = [value for value in taken if value is not None]
    if not values:
        return None
    middle = statistics.median(values)
    low, high = min(values), max(values)
    if len(values) > 3:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return {
        "median": middle,
        "low": low,
        "high": high,
        "n": len(values),
        "values": list(taken),
        "noisy": len(values) > 1 and high - low > WIDEST * abs(middle),
    }


def ratio(above: dict[str, Any] | None, below: dict[str, Any] | None) -> dict[str, Any] | None:
    """A figure divided by another round by round: what slows a whole round down is in both. None where one is lacking."""
    if above is None or below is None:
        return None
    pairs = zip(above["values"], below["values"], strict=True)
    return figure([one / other if one is not None and other else None for one, other in pairs])


def machine() -> dict[str, Any]:
    """What the figures were taken on. No name: it says nothing to others."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        os.uname().machine,
    )
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "processors": processors(),
        "model": model,
        "kernel": os.uname().release.partition("-")[0],
        "python": sys.version.split()[0],
    }
