# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What happened to the requests: samples, rolls, and the figures made from both."""

from __future__ import annotations

import bisect
import csv
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

COUNTS = {"sent": 0, "ok": 0, "failed": 0, "close_race": 0}
EXAMPLES = 10  # how many failed requests of each class are told in full


class Sample(NamedTuple):
    """One request. A retry after a close race is part of the request that it repeats."""

    kind: str
    start: float  # seconds since the epoch
    seconds: float  # until the last byte of the answer, or until it failed
    planned: float  # what the answer takes by its nature (a wait, a stream's pauses)
    races: int  # close races that were repeated
    error: str  # error class; empty = a complete and correct answer
    what: str
    answered_by: str  # value of the recorded header
    request_id: str = ""  # that the answer has, or that was sent


class Roll(NamedTuple):
    """A time in which something was restarted."""

    begin: float
    end: float
    label: str


class Recorder:
    """Takes samples from many threads; writes each to a file at once if one is given."""

    def __init__(self, path: Path | None = None) -> None:
        self.samples: list[Sample] = []
        self.tally: dict[str, Counter[str]] = {}
        self.lock = threading.Lock()
        self.file = path.open("w", newline="", encoding="utf-8", buffering=1) if path else None
        self.writer = csv.writer(self.file) if self.file else None

    def add(self, sample: Sample) -> None:
        """Take one sample."""
        with self.lock:
            self.samples.append(sample)
            tally = self.tally.setdefault(sample.kind, Counter(COUNTS))
            tally.update(
                sent=1,
                ok=not sample.error,
                failed=bool(sample.error),
                close_race=sample.races,
            )
            if self.writer:
                self.writer.writerow(sample)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the counts of each kind so far, without looking at every sample again."""
        with self.lock:
            return {kind: dict(tally) for kind, tally in sorted(self.tally.items())}

    def close(self) -> None:
        """Close the file."""
        if self.file:
            self.file.close()


def read_samples(path: Path) -> list[Sample]:
    """Read the samples that a Recorder wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Sample(row[0], float(row[1]), float(row[2]), float(row[3]), int(row[4]), *row[5:])
            for row in csv.reader(file)
        ]


def write_mark(path: Path, word: str, label: str) -> None:
    """Append `begin` or `end` of a roll, at this moment, to a marks file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{word} {time.time():.6f} {label}".rstrip() + "\n")


def read_marks(path: Path) -> list[tuple[str, float, str]]:
    """Read a marks file: lines `begin TIME [LABEL]` and `end TIME`, time in epoch seconds."""
    marks = []
    for line_number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split(maxsplit=2)
        if not words:
            continue
        try:
            word, moment = words[0], float(words[1])
            if word not in ("begin", "end") or not math.isfinite(moment):
                raise ValueError
        except (IndexError, ValueError):
            raise ValueError(f"{path}:{line_number}: neither 'begin TIME' nor 'end TIME'") from None
        marks.append((word, moment, words[2] if len(words) > 2 else ""))
    return marks


def rolls_from(marks: Iterable[tuple[str, float, str]], finish: float) -> list[Roll]:
    """Pair begins and ends. What was never ended lasts until `finish`."""
    rolls: list[Roll] = []
    open_rolls: list[tuple[float, str]] = []
    for word, moment, label in sorted(marks, key=lambda mark: mark[1]):
        if word == "begin":
            open_rolls.append((moment, label))
        elif open_rolls:
            begin, name = open_rolls.pop()
            rolls.append(Roll(begin, moment, name))
        else:
            raise ValueError(f"a roll ends at {moment:.6f} that never began")
    rolls += [Roll(begin, max(begin, finish), label) for begin, label in open_rolls]
    return sorted(rolls)


def touches(sample: Sample, roll: Roll) -> bool:
    """Return whether any part of a request fell into a roll."""
    return sample.start <= roll.end and sample.start + sample.seconds >= roll.begin


def summarize(samples: Sequence[Sample], rolls: Sequence[Roll]) -> dict[str, Any]:
    """Return the figures: in all, of each kind, and of each roll."""
    # In the order of their start, the samples that may touch a roll are one slice.
    samples = sorted(samples, key=lambda sample: sample.start)
    starts = [sample.start for sample in samples]
    longest = max((sample.seconds for sample in samples), default=0.0)
    of_roll: list[dict[str, Any]] = []
    inside: set[int] = set()
    for roll in rolls:
        first = bisect.bisect_left(starts, roll.begin - longest)
        last = bisect.bisect_right(starts, roll.end)
        touched = [place for place in range(first, last) if touches(samples[place], roll)]
        inside.update(touched)
        of_roll.append({**roll._asdict(), **counts([samples[place] for place in touched])})

    by_kind: dict[str, tuple[list[Sample], list[Sample]]] = {}
    for place, sample in enumerate(samples):
        by_kind.setdefault(sample.kind, ([], []))[place in inside].append(sample)
    kinds = {}
    for kind, (quiet, rolled) in sorted(by_kind.items()):
        those = quiet + rolled
        kinds[kind] = {
            **counts(those),
            "errors": errors(those),
            "answered_by": dict(Counter(s.answered_by for s in those if s.answered_by)),
            "all": figures(those),
            "during_rolls": figures(rolled),
            "outside_rolls": figures(quiet),
        }
    return {"totals": counts(samples), "kinds": kinds, "rolls": of_roll}


def counts(samples: Sequence[Sample]) -> dict[str, int]:
    """Return how many requests were sent, answered, failed, and how many close races there were."""
    failed = sum(1 for sample in samples if sample.error)
    return {
        "sent": len(samples),
        "ok": len(samples) - failed,
        "failed": failed,
        "close_race": sum(sample.races for sample in samples),
    }


def errors(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the number of failed requests of each class, and the first of each."""
    found: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda sample: sample.start):
        if sample.error:
            found.setdefault(sample.error, []).append(sample)
    return {
        name: {
            "count": len(those),
            "examples": [{"start": one.start, "seconds": one.seconds, "what": one.what} for one in those[:EXAMPLES]],
        }
        for name, those in sorted(found.items())
    }


def figures(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return counts and the latencies of the answered requests.

    `latency_ms` is the whole time; `delay_ms` is what came on top of the planned time, and so the
    figure to look at where an answer takes seconds by its nature.
    """
    answered = [sample for sample in samples if not sample.error]
    return {
        "sent": len(samples),
        "failed": len(samples) - len(answered),
        "latency_ms": percentiles([sample.seconds for sample in answered]),
        "delay_ms": percentiles([sample.seconds - sample.planned for sample in answered]),
    }


def percentiles(seconds: list[float]) -> dict[str, float] | None:
    """Return p50, p99 and maximum in milliseconds, by nearest rank; None without values."""
    if not seconds:
        return None
    seconds.sort()

    def rank(share: float) -> float:
        return round(seconds[max(math.ceil(share * len(seconds)) - 1, 0)] * 1000, 2)

    return {"p50": rank(0.50), "p99": rank(0.99), "max": rank(1)}


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write the document so that a reader never sees half of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    part.replace(path)
