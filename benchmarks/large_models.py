# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a model of 1 GB costs in memory and in time, and what callers see of a roll, by how the app is started.

Every variant is what the role starts: real gunicorn masters with the runtime on one public socket, whose app reads the model
from a file (from the page cache) and looks at it in each request. A roll is what the activation does: each instance is stopped,
started with the gate, and has to be ready before the next one is touched. Callers, each with a new connection for each
request, go on meanwhile.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import measure
from tools import environment
from tools.shell import Failed, say

RUNTIME = Path(__file__).parents[1] / "roles" / "flask_app" / "files"
CALLERS = 4
#: Seconds between two requests of a caller, after which an answer counts as slow, and for which callers go on without a roll.
PAUSE, SLOW, STILL = 0.02, 1.0, 5.0
BOOT = 120

MODEL = """
import os
from pathlib import Path

class Weights:
    def __init__(self):
        self.data = Path(os.environ["MODEL"]).read_bytes()

    def predict(self):
        step = len(self.data) // 100
        return str(sum(self.data[::step]))
"""
IN_WORKERS = """
from flask import Flask
from model import Weights

app = Flask(__name__)
weights = Weights()

@app.get("/")
def predict():
    return weights.predict()
"""
DIRTY = """
from flask import Flask
from gunicorn.dirty import get_dirty_client

app = Flask(__name__)

@app.get("/")
def predict():
    return get_dirty_client().execute("ml:Model", "predict")
"""
DIRTY_APP = """
from gunicorn.dirty import DirtyApp
from model import Weights

class Model(DirtyApp):
    def init(self):
        self.weights = Weights()

    def __call__(self, action, *arguments, **options):
        return self.weights.predict()
"""


@dataclass(frozen=True)
class Variant:
    """How an app with a model is started; *settings* are what the user writes."""

    settings: str
    instances: int
    workers: int
    preload: bool = False
    dirty: bool = False


VARIANTS = {
    "two instances, one worker each": Variant("`flask_app_workers: 1`", 2, 1),
    "two instances, two workers each": Variant("`flask_app_workers: 2`", 2, 2),
    "two instances, preload": Variant("`flask_app_workers: 2`, `flask_app_preload: true`", 2, 2, preload=True),
    "two instances, dirty workers": Variant(
        '`flask_app_workers: 2`, `flask_app_gunicorn: {dirty_apps: ["ml:Model"], dirty_workers: 1}`', 2, 2, dirty=True
    ),
    "one instance, preload": Variant(
        "`flask_app_instances: 1`, `flask_app_workers: 2`, `flask_app_preload: true`", 1, 2, preload=True
    ),
    "one instance, one worker": Variant("`flask_app_instances: 1`, `flask_app_workers: 1`", 1, 1),
}
QUICK = ("two instances, preload", "two instances, dirty workers")


class Service:
    """The instances of one variant."""

    def __init__(self, python: Path, folder: Path, model: Path, variant: Variant):
        self.python, self.folder, self.model, self.variant = python, folder, model, variant
        folder.mkdir()
        (folder / "model.py").write_text(MODEL)
        (folder / "wsgi.py").write_text(DIRTY if variant.dirty else IN_WORKERS)
        (folder / "ml.py").write_text(DIRTY_APP)
        (folder / "pygun.py").write_text(
            "import pygun_runtime\n"
            f"runtime = pygun_runtime.Runtime(__file__, app='app', log_dir={str(folder)!r}, boot_timeout={BOOT})\n"
            "wsgi_app = 'wsgi:app'\n"
            "chdir = runtime.source\n"
            "worker_class = runtime.worker_class\n"
            "logger_class = runtime.logger_class\n"
            "worker_tmp_dir = '/dev/shm'\n"
            "control_socket_disable = True\n"
            "graceful_timeout = 10\n"
            "dirty_graceful_timeout = 10\n"
            f"workers = {variant.workers}\n"
            f"preload_app = {variant.preload}\n"
            + ("dirty_apps = ['ml:Model']\ndirty_workers = 1\n" if variant.dirty else "")
            + "runtime.attach(globals())\n"
        )
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.address = self.listener.getsockname()
        self.processes: list[subprocess.Popen] = []

    def start(self, number: int) -> tuple[subprocess.Popen, float]:
        """An instance that is ready, and the seconds that its boot took."""
        name = f"app-{number}"
        (self.folder / f"{name}.log").touch()
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "PYTHONPATH": f"{RUNTIME}{os.pathsep}{self.folder}",
            "SUPERVISOR_PROCESS_NAME": name,
            "PYGUN_RUN_DIR": str(self.folder),
            "PYGUN_INSTANCES": str(self.variant.instances),
            "PYGUN_GATE": "1",
            "MODEL": str(self.model),
        }
        began = time.monotonic()
        with (self.folder / f"{name}.output").open("ab") as output:
            process = subprocess.Popen(
                [str(self.python), "-m", "gunicorn", "-c", str(self.folder / "pygun.py")],
                stdin=self.listener,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env=environ,
            )
        while len(list(self.folder.glob(f"{name}.{process.pid}.*.ready"))) < self.variant.workers:
            if process.poll() is not None or time.monotonic() - began > BOOT:
                said = "".join(path.read_text() for path in self.folder.glob(f"{name}.[lo]*"))
                raise Failed(f"{name} does not start:\n{said}")
            time.sleep(0.02)
        return process, time.monotonic() - began

    def boot(self) -> list[float]:
        """Start all instances, one after the other."""
        seconds = []
        for number in range(self.variant.instances):
            process, took = self.start(number)
            self.processes.append(process)
            seconds.append(took)
        return seconds

    def roll(self) -> float:
        """Seconds of a restart of each instance, one after the other."""
        began = time.monotonic()
        for number, process in enumerate(self.processes):
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            self.processes[number], _ = self.start(number)
        return time.monotonic() - began

    def stop(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.listener.close()
        shutil.rmtree(self.folder)


class Callers:
    """Clients that go on until they are told to end."""

    def __init__(self, address: tuple[str, int]):
        self.address = address
        self.seconds: list[float] = []
        self.failed = 0
        self.going = True
        self.threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]

    def __enter__(self) -> Callers:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.going = False
        for thread in self.threads:
            thread.join()

    def _call(self) -> None:
        while self.going:
            began = time.monotonic()
            try:
                with socket.create_connection(self.address, timeout=BOOT) as connection:
                    connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    answer = b""
                    while data := connection.recv(4096):
                        answer += data
                if not answer.startswith(b"HTTP/1.1 200"):
                    self.failed += 1
            except OSError:
                self.failed += 1
            self.seconds.append(time.monotonic() - began)
            time.sleep(PAUSE)

    @property
    def slow(self) -> int:
        return sum(took > SLOW for took in self.seconds)

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.seconds, n=100, method="inclusive")[98]


def measure_all(mode: str) -> dict:
    """Run the part."""
    rounds, size = {"quick": (1, 1), "short": (3, 1024), "full": (10, 1024)}[mode]
    python = environment.benchmarks().ensure() / "bin" / "python"
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    taken: dict[str, dict[str, list[float]]] = {}
    calibrations = []
    try:
        model = folder / "weights"
        with model.open("wb") as stream:
            for _ in range(size):
                stream.write(os.urandom(2**20))
        for number in range(rounds):
            for name in QUICK if mode == "quick" else VARIANTS:
                say(f"Large models, round {number + 1} of {rounds}: {name}.")
                calibrations.append(measure.calibrate())
                for key, value in _measure(Service(python, folder / "app", model, VARIANTS[name]), mode).items():
                    taken.setdefault(name, {}).setdefault(key, []).append(value)
    finally:
        shutil.rmtree(folder)
    return {
        "noise": measure.noise(calibrations),
        "calibration": calibrations,
        "size_mb": size,
        "variants": {
            name: {key: measure.figure(values) for key, values in figures.items()} for name, figures in taken.items()
        },
    }


def _measure(service: Service, mode: str) -> dict[str, float]:
    try:
        boots = service.boot()
        with Callers(service.address) as still:
            time.sleep(1 if mode == "quick" else STILL)
        memory = measure.memory([process.pid for process in service.processes])
        with Callers(service.address) as rolled:
            seconds = service.roll()
        return {
            "memory_mb": memory / 2**20,
            "boot_s": statistics.mean(boots),
            "roll_s": seconds,
            "sent": len(rolled.seconds),
            "failed": rolled.failed + still.failed,
            "slow": rolled.slow,
            "longest_ms": max(rolled.seconds) * 1e3,
            "p99_ms": rolled.p99 * 1e3,
            "still_p99_ms": still.p99 * 1e3,
        }
    finally:
        service.stop()


def section(result: dict) -> str:
    """The table of this part. Memory does not depend on what else the machine does; the times do, so both ends are shown."""
    from benchmarks.report import table

    def shown(figure: dict, digits: int = 0) -> str:
        middle, low, high = (f"{figure[key]:,.{digits}f}" for key in ("median", "low", "high"))
        return middle if low == high else f"{middle} ({low} to {high})"

    head = [
        "",
        "settings",
        "MB (PSS)",
        "boot s",
        "roll s",
        "failed",
        "slower than 1 s",
        "longest ms",
        "p99 ms, roll",
        "p99 ms, else",
    ]
    rows = [
        [
            name,
            VARIANTS[name].settings,
            shown(of["memory_mb"]),
            shown(of["boot_s"], 1),
            shown(of["roll_s"], 1),
            f"{of['failed']['high']:.0f}",
            f"{of['slow']['median']:.0f} of {of['sent']['median']:.0f}",
            shown(of["longest_ms"]),
            shown(of["p99_ms"]),
            shown(of["still_p99_ms"]),
        ]
        for name, of in result["variants"].items()
    ]
    return (
        f"An app reads a model of {result['size_mb']:,} MB at its start, from the page cache. Memory is that of all processes together;"
        f" boot is one instance until it is ready; a roll restarts all. {CALLERS} callers ask all the time, each with a new"
        f" connection for each request. All figures are medians of the rounds.\n\n{table(head, rows)}"
    )
