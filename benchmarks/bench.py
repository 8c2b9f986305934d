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
    "model": "model",
    "models": "large_models",
}
KEPT = CACHE / "benchmarks"


def bench(parts: list[str], mode: str) -> int:
    """Measure.

    :param mode: quick only sees that every benchmark works, and leaves docs/ alone. headline measures what the README's
        table needs. short and full write the page; if no part is chosen, they begin with the headline.
    """
    if unknown := set(parts) - set(PARTS):
        raise Failed(f"There is no part {', '.join(sorted(unknown))}. The parts are {', '.join(PARTS)}.")
    if mode == "headline" or (mode != "quick" and not parts):
        headline([part for part in report.IN_HEADLINE if not parts or part in parts])
        if mode == "headline":
            return 0
    # The model's quick form has to be asked for: it has not yet been run in the time that it may take.
    default = [part for part in PARTS if (mode, part) != ("quick", "model")]
    chosen = [part for part in PARTS if part in (parts or default)]
    if mode == "quick":
        results = quick(chosen)
    else:
        results = []
        for part in chosen:  # what is measured is kept, if a later part fails
            results.append(run_part(part, mode))
            report.keep(results[-1:])
    print("\n\n".join(report.section(result) for result in results))
    return 0


def headline(chosen: list[str]) -> None:
    """Measure what the README's table needs, and print it. The parts share their hosts."""
    with hosts.running("ours01", "usual01"):
        results = [run_part(part, "headline") for part in chosen]
    report.keep_headline(results)
    print(report.headline(report.kept_headline()), flush=True)


def quick(chosen: list[str]) -> list[dict]:
    """As fast as it goes: what needs hosts shares them, and runs beside what needs none. No figure is worth anything."""
    on_hosts = [part for part in chosen if part in ("deploying", "changing", "model")]

    def with_hosts() -> list[dict]:
        needed = [*(["ours01"] if on_hosts else []), *(["usual01"] if set(on_hosts) - {"model"} else [])]
        with hosts.running(*needed):
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
