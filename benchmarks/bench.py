# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`./dev bench`: run the parts one after the other, keep what they found, write the tables."""

from __future__ import annotations

import importlib
import json
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks import hosts, measure, report
from tools.shell import CACHE, Failed, say

#: Part -> module, in the order in which they run.
PARTS = {
    "serving": "serving",
    "logging": "access_log",
    "deploying": "deploying",
    "changing": "changing",
    "models": "large_models",
}
KEPT = CACHE / "benchmarks"


def bench(parts: list[str], mode: str) -> int:
    """mode: quick only sees that every benchmark works, leaves docs/ alone; short and full write there."""
    if unknown := set(parts) - set(PARTS):
        raise Failed(f"There is no part {', '.join(sorted(unknown))}. The parts are {', '.join(PARTS)}.")
    chosen = [part for part in PARTS if not parts or part in parts]
    results = quick(chosen) if mode == "quick" else [run_part(part, mode) for part in chosen]
    if mode != "quick":
        report.keep(results)
    print("\n\n".join(report.section(result) for result in results))
    return 0


def quick(chosen: list[str]) -> list[dict]:
    """As fast as it goes: what needs hosts shares them, and runs beside what needs none. No figure is worth anything."""
    on_hosts = [part for part in chosen if part in ("deploying", "changing")]

    def with_hosts() -> list[dict]:
        with hosts.running(*(("ours01", "usual01") if on_hosts else ())):
            return [run_part(part, "quick") for part in on_hosts]

    with ThreadPoolExecutor(1) as other:
        later = other.submit(with_hosts)
        return [run_part(part, "quick") for part in chosen if part not in on_hosts] + later.result()


def run_part(part: str, mode: str) -> dict:
    say(f"Benchmark of {part} ({mode}).")
    began = time.monotonic()
    found = importlib.import_module(f"benchmarks.{PARTS[part]}").measure_all(mode)
    result = {"part": part, "mode": mode, **measure.machine(), "seconds": round(time.monotonic() - began), **found}
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{part}-{mode}.json").write_text(json.dumps(result, indent=1) + "\n")
    say(f"{part} took {result['seconds']} s." + (f" Noisy: {result['noise']}." if result["noise"] else ""))
    return result
