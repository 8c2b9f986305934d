# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A service that brings a model and the usual libraries of its trade: what a change sends, stores and lasts.

Beside it on the same host, in the same rounds, a small service: the sample app. A third one has a very large file
and many small ones.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rig.deploys import Source
from rig.host import Host

from benchmarks import hosts, measure
from benchmarks.deploying import add_files, unchanged
from tools import containers, environment
from tools.shell import Failed, say

HERE = Path(__file__).parent
MIB = 2**20
LIBRARIES = {"pandas": "pandas", "scikit-learn": "sklearn", "onnxruntime": "onnxruntime", "pyarrow": "pyarrow"}
#: mode -> size of the model, libraries, size of the large file, small files, rounds. Quick: the model alone.
SIZES = {
    "quick": (MIB, {}, 0, 0, 1),
    "short": (300 * MIB, LIBRARIES, 2048 * MIB, 10_000, 3),
    "full": (300 * MIB, LIBRARIES, 2048 * MIB, 10_000, 7),
}
HOST = "ours01"
#: A release for each change, and none of them pruned: what one takes of the disk is to be seen.
KEEP = 50
#: Seconds. The libraries take long to be imported where the machine does something else as well.
BOOT_TIMEOUT = 120


class ModelApp:
    """The source of the service, in a folder of its own."""

    def __init__(self, folder: Path, libraries: dict[str, str], size: int) -> None:
        self.folder = folder
        shutil.copytree(HERE / "model_app", folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "libraries.txt").write_text("\n".join(libraries.values()))
        (folder / "requirements.txt").write_text("\n".join(["flask", *libraries, ""]))
        self.model(1, size)

    @property
    def path(self) -> Path:
        return self.folder / "model.bin"

    def model(self, number: int, size: int) -> ModelApp:
        """Another model, which no compression makes smaller."""
        write_noise(self.path, size, f"MODEL {number}\n".encode())
        return self

    def version(self, version: str) -> ModelApp:
        """Change one line."""
        code = self.folder / "wsgi.py"
        code.write_text(re.sub(r'^VERSION = ".*"', f'VERSION = "{version}"', code.read_text(), flags=re.MULTILINE))
        return self


def write_noise(path: Path, size: int, start: bytes = b"") -> None:
    """A file of so many bytes that cannot be compressed, and has no holes."""
    with path.open("wb") as stream:
        stream.write(start)
        left = size - len(start)
        while left:
            left -= stream.write(os.urandom(min(left, 8 * MIB)))


@dataclass
class Service:
    """One app on the host."""

    name: str
    port: int
    source: Any
    settings: dict[str, Any] = field(default_factory=dict)

    def deploy(self, peak: bool = False) -> hosts.Run:
        return hosts.ours(
            "deploy", [HOST], self.source, peak=peak, name=self.name, bind=f"127.0.0.1:{self.port}",
            keep_releases=KEEP, boot_timeout=BOOT_TIMEOUT, **self.settings,
        )  # fmt: skip


class OnHost(Host):
    """The host, and what the apps take of it."""

    def disk(self, app: str) -> int:
        """Bytes of all that the app has; what several releases share counts once."""
        return int(self.run("du", "-s", "--block-size=1", f"/srv/{app}").split()[0])

    def environments(self, app: str) -> set[str]:
        return set(self.run("ls", f"/srv/{app}/environments").split())

    def import_seconds(self) -> float:
        """Seconds until an interpreter has imported the model's service."""
        release = "/srv/model/current"
        began = time.monotonic()
        self.run("env", f"PYTHONPATH={release}/src", f"{release}/venv/bin/python", "-B", "-c", "import wsgi")
        return time.monotonic() - began

    def by_hand(self, lock: str, model: Path) -> float:
        """Seconds to install the same packages with uv into a fresh environment, and to copy the model."""
        environ = ["UV_NO_CACHE=1", "UV_NO_CONFIG=1"]
        if os.environ.get("PIP_INDEX_URL"):
            environ.append(f"UV_INDEX_URL={os.environ['PIP_INDEX_URL']}")
        if environment.host_ca_bundle():
            environ.append(f"SSL_CERT_FILE={containers.CA_BUNDLE}")
        self.run("rm", "-rf", "/srv/by-hand")
        uv = ["env", *environ, "/opt/pygun/uv/bin/uv"]
        began = time.monotonic()
        self.run(*uv, "venv", "--quiet", "/srv/by-hand")
        self.run(
            *uv, "pip", "install", "--quiet", "--python", "/srv/by-hand/bin/python", "--requirement", "-", text=lock
        )
        with model.open("rb") as stream:
            subprocess.run(
                [self.engine, "exec", "-i", self.name, "sh", "-c", "cat > /srv/by-hand/model.bin"],
                stdin=stream,
                check=True,
            )
        return time.monotonic() - began


def measure_all(mode: str) -> dict:
    """Run the part."""
    size, libraries, large, files, rounds = SIZES[mode]
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        services = {"model": Service("model", 5001, ModelApp(folder / "model", libraries, size))}
        if large:
            services["small"] = Service("small", 5002, Source(folder / "small"))
            source = Source(folder / "large")
            add_files(source.folder, files)
            write_noise(source.folder / "model.bin", large)
            services["large"] = Service("large", 5003, source)
            services["second"] = Service("second", 5004, Source(folder / "second"))
        with hosts.running(HOST):
            return on_host(OnHost(hosts.name(HOST)), services, size, rounds)
    finally:
        shutil.rmtree(folder)


def on_host(host: OnHost, services: dict[str, Service], size: int, rounds: int) -> dict:
    """All figures. The round in which a service has its turn is the same for all that are compared."""
    calibrations = [measure.calibrate()]
    model = services["model"]
    found: dict[str, Any] = {"size": size, "rounds": rounds}
    seconds: dict[str, float] = {}
    if "small" in services:
        say(
            "A model: first install of a small service, which brings Python's and supervisor's tools, and of another one."
        )
        services["small"].deploy()
        seconds["a small service"] = services.pop("second").deploy().seconds
    runs: dict[str, dict[str, list[hosts.Run]]] = {name: {"no change": [], "a line": []} for name in services}
    say("A model: first install.")
    first = model.deploy()
    lock = host.run("cat", "/srv/model/current/lock.txt")
    say("A model: the same packages and the model by hand.")
    # The index may have had to fetch a package for whoever came first.
    hands = [host.by_hand(lock, model.source.path) for _ in range(1 if rounds == 1 else 2)]
    found["first install"] = {**seconds, "seconds": first.seconds, "by hand": hands}
    imports = [host.import_seconds() for _ in range(1 + rounds)]  # the first one reads from the disk
    found["import"] = measure.figure(imports[1:])
    if "large" in services:
        say("A model: first install with a very large file, in which memory is measured.")
        peaks = services["large"].deploy(peak=True)
        found["peaks"] = {"control node": peaks.control_peak, "host": peaks.host_peak, "sent": peaks.sent}
    disks = []
    versions = itertools.count(2)
    for number in range(rounds):
        say(f"A model, round {number + 1} of {rounds}: no change, then another line.")
        calibrations.append(measure.calibrate())
        order = list(services.items())
        for name, service in order if number % 2 else reversed(order):
            runs[name]["no change"].append(unchanged(name, service.deploy()))
        version = f"{next(versions)}.0"
        before = host.disk("model")
        for name, service in order if number % 2 else reversed(order):
            if name != "large":
                service.source.version(version)
                runs[name]["a line"].append(changed(name, service.deploy()))
        disks.append(host.disk("model") - before)
    found["disk"] = measure.figure(disks)
    if "small" in services:
        say("A model: another setting of gunicorn.")
        model.settings["keepalive"] = 6
        runs["model"]["a setting"] = [changed("model", model.deploy())]
        say("A model: a new model alone.")
        environments = host.environments("model")
        model.source.model(2, size)
        runs["model"]["a new model"] = [changed("model", model.deploy())]
        found["environments made for a new model"] = len(host.environments("model") - environments)
    calibrations.append(measure.calibrate())
    return {
        "noise": measure.noise(calibrations),
        "calibration": calibrations,
        **found,
        "runs": {
            name: {
                what: {key: measure.figure([vars(run)[key] for run in of]) for key in ("seconds", "sent", "content")}
                for what, of in by_what.items() if of
            }
            for name, by_what in runs.items()
        },
    }  # fmt: skip


def changed(name: str, run: hosts.Run) -> hosts.Run:
    """The run, which had something to do."""
    if not run.changed:
        raise Failed(f"{name}: a change changed nothing. See .cache/logs/bench-*.log.")
    return run
