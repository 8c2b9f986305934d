# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Put a service under a mixed load and count every failed request.

    python client.py run 127.0.0.1:5000 --duration 60 --out result.json
    python client.py mark marks.txt begin "deploy 1"
    python client.py report samples.csv --marks marks.txt

The service is the one in app/, or another with `--path`. Standard library only: copy this folder
beside the service. See README.md for the options and for the meaning of the figures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import load_report
from load_http import Answer, CloseRace, Connection, Failed, Request, Target
from load_report import Recorder, Roll, Sample

# A repeated request meets a new connection, where there is no close race.
Maker = Callable[["Load", random.Random, int], Request]


@dataclass(frozen=True)
class Kind:
    """A way of using the service."""

    make: Maker
    connections: int  # at the same time
    pause: float  # mean seconds between two requests of one connection
    reuse: str  # "never", "always" or "half": which workers keep their connection
    about: str


def make_simple(load: Load, rng: random.Random, turn: int) -> Request:
    """A question that is answered at once: what the service is, or a prediction."""
    if load.path:
        return Request("GET", load.path, check=contains(load.contains))
    if turn % 2:
        return Request("GET", "/", check=says("service", "scoring"))
    delivery = {
        "distance_km": round(rng.uniform(0, 500), 3),
        "items": rng.randint(1, 200),
        "rain_mm": round(rng.uniform(0, 100), 3),
    }
    body = json.dumps(delivery).encode()

    def check(answer: Answer) -> str | None:
        said = json.loads(answer.body)
        # The echo proves that this is the answer to this very request.
        if said.get("input") == delivery and 0 <= said["late_probability"] <= 1:
            return None
        return f"not the prediction for {delivery}: {answer.body[:200]!r}"

    return Request("POST", "/predict", {"Content-Type": "application/json"}, [body], check=check)


def make_slow(load: Load, rng: random.Random, _turn: int) -> Request:
    """A question whose answer takes seconds."""
    milliseconds = int(rng.uniform(*load.slow_seconds) * 1000)
    return Request(
        "GET",
        f"/wait?ms={milliseconds}",
        planned=milliseconds / 1000,
        check=equals({"waited_ms": milliseconds}),
    )


def make_stream(load: Load, _rng: random.Random, _turn: int) -> Request:
    """An answer that comes in pieces over seconds."""
    chunks, milliseconds = load.stream_chunks, load.stream_ms
    lines = [{"chunk": number} for number in range(chunks)] + [{"chunks": chunks}]

    def check(answer: Answer) -> str | None:
        said = [json.loads(line) for line in answer.body.splitlines()]
        return None if said == lines else f"{len(said)} lines, not the {len(lines)} expected"

    return Request(
        "GET",
        f"/stream?chunks={chunks}&ms={milliseconds}",
        planned=chunks * milliseconds / 1000,
        check=check,
    )


def make_upload(load: Load, rng: random.Random, turn: int) -> Request:
    """A body that is sent in pieces over seconds; every other one without telling its length."""
    size = load.upload_bytes // load.upload_pieces
    pieces = [rng.randbytes(size) for _ in range(load.upload_pieces)]
    body = b"".join(pieces)
    gap = load.upload_seconds / load.upload_pieces
    return Request(
        "POST",
        "/upload",
        body=pieces,
        gap=gap,
        chunked=turn % 2 == 1,
        planned=load.upload_seconds,
        check=equals({"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}),
    )


KINDS = {
    "new": Kind(make_simple, 3, 0.05, "never", "one request for each connection"),
    "keepalive": Kind(make_simple, 3, 0.05, "always", "many requests on each connection"),
    "idle": Kind(make_simple, 4, 3.0, "always", "kept connections that are mostly idle"),
    "slow": Kind(make_slow, 6, 0.1, "half", "answers that take seconds"),
    "stream": Kind(make_stream, 4, 0.1, "half", "streamed answers"),
    # Never reused: a body in pieces may be read in part, so nothing tells a close race apart.
    "upload": Kind(make_upload, 3, 0.1, "never", "bodies that are sent slowly"),
}


def contains(text: str) -> Callable[[Answer], str | None]:
    """Return a check that the body contains `text`."""
    return lambda answer: None if text.encode() in answer.body else f"{text!r} is not in {answer.body[:200]!r}"


def says(name: str, value: str) -> Callable[[Answer], str | None]:
    """Return a check that the body is a JSON object with this value."""

    def check(answer: Answer) -> str | None:
        if json.loads(answer.body)[name] == value:
            return None
        return f"{name} is not {value} in {answer.body[:200]!r}"

    return check


def equals(expected: object) -> Callable[[Answer], str | None]:
    """Return a check that the body is this JSON document."""

    def check(answer: Answer) -> str | None:
        if json.loads(answer.body) == expected:
            return None
        return f"{answer.body[:200]!r} instead of {expected}"

    return check


@dataclass
class Load:
    """A run: its settings and what came of it."""

    target: Target
    recorder: Recorder
    timeout: float = 30.0
    requests: int = 0  # of each worker; 0 = until stopped
    seed: int = 0
    path: str = ""
    contains: str = ""
    slow_seconds: tuple[float, float] = (1.0, 3.0)
    stream_chunks: int = 20
    stream_ms: int = 100
    upload_bytes: int = 65536
    upload_pieces: int = 20
    upload_seconds: float = 2.0
    record_header: str = ""
    expect_header: tuple[str, str] | None = None
    request_ids: str = ""
    stopping: threading.Event = field(default_factory=threading.Event)
    connections: Counter[str] = field(default_factory=Counter)
    idle_closed: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def start(self, name: str, connections: int, pause: float, rate: float) -> list[threading.Thread]:
        """Start the workers of one kind and return their threads."""
        interval = connections / rate if rate else 0
        workers = [Worker(self, name, index, pause, interval) for index in range(connections)]
        threads = [threading.Thread(target=worker.run) for worker in workers]
        for thread in threads:
            thread.start()
        return threads


class Worker:
    """Sends requests of one kind, one after the other."""

    def __init__(self, load: Load, name: str, index: int, pause: float, interval: float) -> None:
        self.load = load
        self.name = name
        self.index = index
        self.pause = pause
        self.interval = interval  # seconds from one request to the next, at least
        self.rng = random.Random(f"{load.seed} {name} {index}")  # noqa: S311 - no secret
        kind = KINDS[name]
        self.make = kind.make
        self.keep = kind.reuse == "always" or (kind.reuse == "half" and index % 2 == 0)
        self.connection: Connection | None = None

    def run(self) -> None:
        """Send requests until told to stop; what was begun is finished and counted."""
        # Workers that start together would go on together.
        self.load.stopping.wait(self.rng.uniform(0, min(self.pause, 1)))
        turn = 0
        try:
            while not self.load.stopping.is_set():
                begun = time.monotonic()
                self.one(turn)
                turn += 1
                if turn == self.load.requests:
                    break
                rest = begun + self.interval - time.monotonic()
                self.load.stopping.wait(max(self.rng.uniform(0, 2 * self.pause), rest))
        except Exception:
            # A worker that ends silently would count nothing from then on.
            self.load.problems.append(f"{self.name}-{self.index}: {traceback.format_exc()}")
        finally:
            if self.connection:
                self.connection.close()

    def one(self, turn: int) -> None:
        """Send one request and record what became of it."""
        request = self.make(self.load, self.rng, turn)
        request_id = ""
        if self.load.request_ids:
            request.headers["User-Agent"] = self.load.request_ids
            if turn % 2:  # the others leave it to the server
                request_id = f"{self.load.request_ids}-{self.name}-{self.index}-{turn}"
                request.headers["X-Request-ID"] = request_id
        start, clock = time.time(), time.monotonic()
        races, error, what, answered_by = 0, "", "", ""
        try:
            try:
                answer = self.send(request)
            except CloseRace:
                races = 1
                answer = self.send(request)
            answered_by = answer.headers.get(self.load.record_header, "")
            if self.load.request_ids:
                request_id = self.check_id(request_id, answer.headers.get("x-request-id", ""))
            self.check(request, answer)
        except Failed as failure:
            error, what = failure.name, f"{request.method} {request.path}: {failure.what}"
            if answered_by:
                what += f" (answered by {answered_by})"
        seconds = time.monotonic() - clock
        self.load.recorder.add(
            Sample(self.name, start, seconds, request.planned, races, error, what, answered_by, request_id)
        )

    def send(self, request: Request) -> Answer:
        """Send a request, on the connection at hand if it is still open."""
        connection, self.connection = self.connection, None
        if connection and not self.still_open(connection):
            self.load.idle_closed[self.name] += 1
            connection = None
        if connection is None:
            connection = Connection(self.load.target, self.load.timeout)
            self.load.connections[self.name] += 1
        answer = connection.exchange(request, self.keep, self.load.timeout + request.planned)
        if not connection.closed:
            self.connection = connection
        return answer

    def still_open(self, connection: Connection) -> bool:
        """Return whether a kept connection can be used, and close it if not."""
        usable = False
        try:
            usable = connection.is_open()
        finally:
            if not usable:
                connection.close()
        return usable

    def check_id(self, sent: str, answered: str) -> str:
        """Return the request's id; raise Failed unless the answer has it, and the one that was sent if any was."""
        if not answered or sent not in ("", answered):
            raise Failed("wrong_header", f"x-request-id: {answered!r}, after {sent!r} was sent")
        return answered

    def check(self, request: Request, answer: Answer) -> None:
        """Raise Failed unless this is the answer to the request."""
        if answer.status != 200:
            raise Failed(f"status_{answer.status}", repr(answer.body[:200]))
        try:
            wrong = request.check(answer)
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            wrong = f"{error}: {answer.body[:200]!r}"
        if wrong:
            raise Failed("wrong_body", wrong)
        if self.load.expect_header:
            name, value = self.load.expect_header
            if answer.headers.get(name) != value:
                raise Failed("wrong_header", f"{name}: {answer.headers.get(name)}, not {value}")


def run(options: argparse.Namespace) -> int:
    """Run the load; return the exit status."""
    load = Load(
        options.target,
        Recorder(options.samples),
        **{name: getattr(options, name) for name in SETTINGS},
    )
    marks: list[tuple[str, float, str]] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: load.stopping.set())
    for number, word in ((signal.SIGUSR1, "begin"), (signal.SIGUSR2, "end")):
        signal.signal(number, lambda *_, word=word: marks.append((word, time.time(), "")))

    started = time.time()
    threads: list[threading.Thread] = []
    for name in KINDS:
        connections, pause, rate = (getattr(options, f"{name}{part}") for part in ("", "_pause", "_rate"))
        threads += load.start(name, connections, pause, rate)
    if not threads:
        sys.exit("client.py: nothing to send: every kind has 0 connections")

    def document(running: bool) -> dict[str, Any]:
        finish = time.time()
        rolls = []
        if not running:
            try:
                told = load_report.read_marks(options.marks) if options.marks else []
                rolls = load_report.rolls_from([*marks, *told], finish)
            except (OSError, ValueError) as error:
                load.problems.append(f"the marks were not used: {error}")
        return describe(load, started, finish, rolls, running)

    until = time.monotonic() + options.duration if options.duration else None
    progress = time.monotonic()
    while any(thread.is_alive() for thread in threads):
        if until is not None and time.monotonic() >= until:
            load.stopping.set()
        if options.stop_file and options.stop_file.exists():
            load.stopping.set()
        if options.out and time.monotonic() >= progress:
            progress = time.monotonic() + options.progress
            load_report.write_json(options.out, document(running=True))
        time.sleep(0.1)
    load.recorder.close()

    result = document(running=False)
    # A kind that sent nothing would look like one that lost nothing.
    for name in KINDS:
        if getattr(options, name) and name not in result["kinds"]:
            result["problems"].append(f"{name}: nothing was sent")
    if options.out:
        load_report.write_json(options.out, result)
    else:
        print(json.dumps(result, indent=2))
    print(told_shortly(result), file=sys.stderr)
    return 2 if result["problems"] else 1 if result["totals"]["failed"] else 0


def describe(load: Load, started: float, finish: float, rolls: list[Roll], running: bool) -> dict[str, Any]:
    """Return the result document, or while it still runs the counts alone."""
    document: dict[str, Any] = {
        "running": running,
        "started": started,
        "seconds": round(finish - started, 3),
        "problems": load.problems,
    }
    if running:
        # Percentiles of everything, every few seconds, would be load of another kind.
        return {**document, "kinds": load.recorder.counts()}
    document |= load_report.summarize(load.recorder.samples, rolls)
    for name, figures in document["kinds"].items():
        figures["connections"] = load.connections[name]
        figures["idle_closed"] = load.idle_closed[name]
    return document


def report(options: argparse.Namespace) -> int:
    """Make the figures again from samples and marks; return the exit status."""
    try:
        samples = load_report.read_samples(options.samples)
        finish = max((sample.start + sample.seconds for sample in samples), default=0.0)
        marks = load_report.read_marks(options.marks) if options.marks else []
        rolls = load_report.rolls_from(marks, finish)
    except (OSError, ValueError) as error:
        sys.exit(f"client.py: {error}")
    result = {"problems": [], **load_report.summarize(samples, rolls)}
    print(json.dumps(result, indent=2))
    print(told_shortly(result), file=sys.stderr)
    return 1 if result["totals"]["failed"] else 0


def mark(options: argparse.Namespace) -> int:
    """Write a mark."""
    load_report.write_mark(options.file, options.word, options.label)
    return 0


def told_shortly(result: dict[str, Any]) -> str:
    """Return the result as a few lines for a person."""

    def p99(part: dict[str, Any]) -> str:
        return f"{part['delay_ms']['p99']:.0f}" if part["delay_ms"] else "-"

    columns = "{:10} {:>9} {:>7} {:>11} {:>18} {:>18}"
    titles = ("", "sent", "failed", "close races", "p99 delay in rolls", "outside, ms")
    lines = [columns.format(*titles)]
    rows = [*result["kinds"].items(), ("total", result["totals"])]
    for name, row in rows:
        delays = [p99(row[part]) for part in ("during_rolls", "outside_rolls") if part in row]
        numbers = [row[count] for count in ("sent", "failed", "close_race")]
        lines.append(columns.format(name, *numbers, *(delays or ("", ""))))
    for name, kind in result["kinds"].items():
        for error, found in kind["errors"].items():
            first = found["examples"][0]["what"]
            lines.append(f"{name}: {found['count']} x {error}, first: {first}")
    return "\n".join(line.rstrip() for line in lines + result["problems"])


# Options that are passed to Load as they are.
SETTINGS = (
    "timeout",
    "requests",
    "seed",
    "path",
    "contains",
    "slow_seconds",
    "stream_chunks",
    "stream_ms",
    "upload_bytes",
    "upload_pieces",
    "upload_seconds",
    "record_header",
    "expect_header",
    "request_ids",
)


def target(text: str) -> Target:
    """Read the target; argparse shows the reason of this exception only."""
    try:
        return Target.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def header(text: str) -> tuple[str, str]:
    """Read NAME=VALUE."""
    name, equal, value = text.partition("=")
    if not (name and equal):
        raise ValueError
    return name.lower(), value


def seconds(text: str) -> tuple[float, float]:
    """Read MIN-MAX."""
    low, _, high = text.partition("-")
    pair = (float(low), float(high or low))
    if not 0 <= pair[0] <= pair[1] <= 10:
        raise ValueError
    return pair


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="client.py", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "run",
        usage="%(prog)s TARGET [options]",
        help="send requests",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    command.set_defaults(run=run)
    add = command.add_argument
    add("target", type=target, help="host:port or unix:/path")
    add("--duration", type=float, default=0, help="seconds; 0 = until SIGTERM or the stop file")
    add("--stop-file", type=Path, help="stop when this file exists")
    add("--requests", type=int, default=0, help="stop each worker after so many; 0 = no limit")
    add("--timeout", type=float, default=30.0, help="seconds beyond its planned time")
    add("--out", type=Path, help="result, JSON; counts while it runs (default: standard output)")
    add("--progress", type=float, default=5.0, help="seconds between two writes of --out")
    add("--samples", type=Path, help="write every request to this file, CSV, for `report`")
    add("--marks", type=Path, help="file of `mark`; SIGUSR1 begins a roll too, SIGUSR2 ends it")
    add("--record-header", type=str.lower, default="", help="count the values of this header")
    add("--expect-header", type=header, metavar="NAME=VALUE", help="another value is a failure")
    add(
        "--request-ids",
        default="",
        metavar="WORD",
        help="send X-Request-ID (WORD-...) with every other request; the answer must have one",
    )
    add("--path", default="", help="GET this instead of what only app/ answers, for the quick kinds")
    add("--contains", default="", help="text that the answer to --path contains")
    add("--seed", type=int, default=0, help="of the random numbers")
    add("--slow-seconds", type=seconds, default=(1.0, 3.0), metavar="MIN-MAX", help="up to 10")
    add("--stream-chunks", type=int, default=20, help="pieces of a streamed answer")
    add("--stream-ms", type=int, default=100, help="milliseconds between them")
    add("--upload-bytes", type=int, default=65536, help="size of a slow body")
    add("--upload-pieces", type=int, default=20, help="pieces of a slow body")
    add("--upload-seconds", type=float, default=2.0, help="time to send it")
    for name, kind in KINDS.items():
        add = command.add_argument_group(f"{name}: {kind.about}").add_argument
        add(f"--{name}", type=int, default=kind.connections, help="connections; 0 = none")
        add(f"--{name}-pause", type=float, default=kind.pause, help="mean seconds between requests")
        add(f"--{name}-rate", type=float, default=0, help="requests per second at most; 0 = any")

    command = commands.add_parser("mark", help="note the begin or the end of a roll")
    command.set_defaults(run=mark)
    command.add_argument("file", type=Path)
    command.add_argument("word", choices=["begin", "end"])
    command.add_argument("label", nargs="?", default="")

    command = commands.add_parser("report", help="make the figures again, with other marks")
    command.set_defaults(run=report)
    command.add_argument("samples", type=Path)
    command.add_argument("--marks", type=Path)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    parsed = parse(sys.argv[1:])
    sys.exit(parsed.run(parsed))
