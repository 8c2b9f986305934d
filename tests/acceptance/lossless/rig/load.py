# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The load client, on the host itself, so that no network lies between."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from subprocess import DEVNULL, PIPE
from typing import Any

from load_report import Sample

from rig.host import HERE, Host

FULL = bool(os.environ.get("PYGUN_FULL"))
VERSIONS = ("--record-header", "X-App-Version")
#: As many connections, and a third of the requests: those of the quick kinds cost a processor most, and one test has them all.
CALM = VERSIONS if FULL else (*VERSIONS, "--new-pause", "0.2", "--keepalive-pause", "0.2")
HTTPBIN = ("--path", "/get", "--contains", '"url"', "--slow", "0", "--stream", "0", "--upload", "0")
HTTPBIN += () if FULL else ("--new-pause", "0.4", "--keepalive-pause", "0.4")


@dataclass
class Load:
    """Use as a context; afterwards `result` and `samples` tell what happened."""

    host: Host
    name: str
    target: str = "127.0.0.1:5000"
    options: tuple[str, ...] = CALM
    result: dict[str, Any] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)

    def __enter__(self) -> Load:
        place = f"{HERE}/{self.name}"
        self.host.run("sh", "-c", f"rm -rf {place}; mkdir -p {place}")
        self.place = place
        self.process = self.host.spawn(
            "python3", f"{HERE}/client.py", "run", self.target, "--stop-file", f"{place}/stop", "--out", f"{place}/out.json",
            "--samples", f"{place}/samples.csv", "--marks", f"{place}/marks.txt", *self.options,
            stdin=DEVNULL, stdout=PIPE, stderr=PIPE,
        )  # fmt: skip
        deadline = time.monotonic() + 90
        while len(self.so_far()) < 30:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "the load did not start"
            time.sleep(0.4)
        return self

    def __exit__(self, *_: object) -> None:
        text = "".join(f"{line}\n" for line in self.marks)
        self.host.run("sh", "-c", f"cat > {self.place}/marks.txt; touch {self.place}/stop", text=text)
        said = self.process.communicate(timeout=120)
        self.samples = self.so_far()
        if self.process.returncode not in (0, 1):
            raise AssertionError(f"the load client ended with {self.process.returncode}: {said}")
        self.result = json.loads(self.host.run("cat", f"{self.place}/out.json"))

    @contextlib.contextmanager
    def roll(self, label: str) -> Iterator[None]:
        """What happens in here is a roll."""
        self.marks.append(f"begin {time.time():.6f} {label}")
        try:
            yield
        finally:
            self.marks.append(f"end {time.time():.6f}")

    def so_far(self, since: float = 0.0) -> list[Sample]:
        """The requests that ended until now, of those that began after a moment."""
        text = self.host.run("cat", f"{self.place}/samples.csv", check=False)
        complete = text[: text.rfind("\n") + 1]
        rows = csv.reader(io.StringIO(complete))
        samples = [Sample(row[0], float(row[1]), float(row[2]), float(row[3]), int(row[4]), *row[5:]) for row in rows]
        return [sample for sample in samples if sample.start >= since]

    def failed(self, since: float = 0.0) -> list[Sample]:
        """The failed ones among them."""
        return failed(self.samples or self.so_far(), since)

    @property
    def totals(self) -> dict[str, int]:
        return self.result["totals"]

    def answered_by(self) -> Counter[str]:
        """How many requests each version of the app answered."""
        found: Counter[str] = Counter()
        for kind in self.result["kinds"].values():
            found.update(kind["answered_by"])
        return found


def failed(samples: list[Sample], since: float = 0.0) -> list[Sample]:
    return [sample for sample in samples if sample.error and sample.start >= since]


def in_flight(samples: list[Sample], moment: float, tolerance: float = 0.05) -> list[Sample]:
    """The requests that were on their way at a moment."""
    return [one for one in samples if one.start <= moment + tolerance and one.start + one.seconds >= moment - tolerance]


def by_error(samples: list[Sample]) -> dict[str, int]:
    """How many failed in which way."""
    return dict(Counter(sample.error for sample in samples if sample.error))
