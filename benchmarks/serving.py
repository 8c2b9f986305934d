# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Requests per second, their latency and their processor time: ours as the role deploys it, and what else is in use.

All servers stand side by side on this machine, idle but the one that wrk asks. Each processor gets as many processes as
the server's own documentation advises, and where a server has threads, they are eight. What is written to a log goes
to a file.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from benchmarks import measure
from tools import environment
from tools.shell import ROOT, Failed, install, run, say, succeeds

HERE = Path(__file__).parent
APP = HERE / "serving_app"
RUNTIME = ROOT / "roles" / "flask_app" / "files" / "pygun_runtime"
ENDPOINTS = {"hello": "/", "wait": "/wait", "compute": "/compute"}
PATIENCE = 30  # seconds for a server to start or to stop
INSTANCES = 2  # flask_app_instances

TUTORIAL = """
wsgi_app = "wsgi:app"
workers = 1
worker_class = "gevent"
loglevel = "debug"
preload_app = True
keepalive = 75
accesslog = "access.log"
errorlog = "error.log"
"""

NGINX = """
daemon off;
worker_processes auto;
pid {place}/nginx.pid;
error_log {place}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {place}; proxy_temp_path {place}; fastcgi_temp_path {place};
    uwsgi_temp_path {place}; scgi_temp_path {place};
    keepalive_requests 1000000;
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        location / {{ default_type text/plain; return 200 "hello"; }}
    }}
}}
"""


@dataclass(frozen=True)
class Cell:
    """One thing that is asked of every server."""

    endpoint: str
    connections: int
    keep_alive: bool = True

    @property
    def name(self) -> str:
        return f"{self.endpoint}, {self.connections} connections{'' if self.keep_alive else ', no keep-alive'}"


#: With few connections: every server has answered each endpoint before, and what wrk says is read in the same way.
QUICK = [Cell("wait", 10), Cell("hello", 1, False)]
SHORT = [
    Cell("hello", 1),
    Cell("hello", 50),
    Cell("hello", 50, False),
    Cell("compute", 50),
    Cell("wait", 500),
    Cell("wait", 2000),
]
#: What the README's table needs, each of these servers.
HEADLINE = {
    Cell("hello", 50): ("ours", "ours, no access log", "the tutorial's"),
    Cell("compute", 50): ("ours",),
    Cell("wait", 500): ("ours", "the tutorial's", "gunicorn gevent"),
    Cell("wait", 2000): ("ours", "the tutorial's", "gunicorn gevent"),
}
IN_HEADLINE = tuple(dict.fromkeys(itertools.chain(*HEADLINE.values())))
#: Of servers that are started in the same way the first.
IN_QUICK = (*IN_HEADLINE, "uWSGI", "waitress", "granian", "Flask's development server", "nginx, a constant")
FULL = [
    Cell(endpoint, connections, keep_alive)
    for endpoint in ENDPOINTS
    for connections in (1, 50, 500, 2000)
    for keep_alive in (True, False)
]


class Server:
    """One server on a port of its own, in a folder of its own."""

    #: The endpoints that it has.
    endpoints = tuple(ENDPOINTS)

    def __init__(self, name: str, place: Path, command: Callable[[Path, int], list[str]], steps: int = 1):
        self.name = name
        self.place = place
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(place),
            "LC_ALL": "C.UTF-8",
            "BENCH_STEPS": str(steps),
        }
        place.mkdir(parents=True)
        shutil.copy(APP / "wsgi.py", place)
        listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.port = listener.getsockname()[1]
        self.processes: list[subprocess.Popen] = []
        self.start(command, listener)

    def start(self, command: Callable[[Path, int], list[str]], listener: socket.socket) -> None:
        listener.close()
        self.spawn(command(self.place, self.port))

    def spawn(self, command: list[str], **options) -> None:
        environ = {**self.environ, **options.pop("env", {})}
        with (self.place / "output").open("ab") as output:
            self.processes.append(
                subprocess.Popen(
                    command, cwd=self.place, env=environ, stdout=output, stderr=output, start_new_session=True,
                    **{"stdin": subprocess.DEVNULL, **options},
                )
            )  # fmt: skip

    def is_asked(self, cell: Cell, mode: str) -> bool:
        return cell.endpoint in self.endpoints and (mode != "headline" or self.name in HEADLINE[cell])

    @property
    def roots(self) -> list[int]:
        return [process.pid for process in self.processes]

    def ask(self, path: str) -> bytes:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return answer.read()

    def check(self) -> None:
        """Wait until it answers; each endpoint must be what it says."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                hello = self.ask("/")
                break
            except OSError as error:
                if time.monotonic() > deadline or any(process.poll() is not None for process in self.processes):
                    told = (self.place / "output").read_text(errors="replace")[-3000:]
                    raise Failed(f"{self.name} does not answer: {error}\n{told}") from error
                time.sleep(0.1)
        right = hello == b"hello"
        if "wait" in self.endpoints:
            began = time.monotonic()
            right &= self.ask("/wait") == b"waited" and time.monotonic() - began >= 0.05
        if "compute" in self.endpoints:
            answer = self.ask("/compute")
            right &= 1800 < len(answer) < 2400 and len(json.loads(answer)["records"]) == 37
        if not right:
            raise Failed(f"{self.name} does not answer what it is asked.")

    def stop(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


class Ours(Server):
    """The instances of a release, started by its launcher on one socket, as supervisor does it."""

    def __init__(self, name: str, place: Path, venv: Path, steps: int, instances: int = INSTANCES, **settings):
        self.venv = venv
        self.instances = instances
        self.settings = settings
        super().__init__(name, place, lambda *_: [], steps)

    def start(self, command: Callable[[Path, int], list[str]], listener: socket.socket) -> None:
        release, logs, run_dir = (self.place / part for part in ("release", "log", "run"))
        for folder in (release / "src", logs, run_dir):
            folder.mkdir(parents=True)
        (release / "venv").symlink_to(self.venv)
        # A copy: the launcher knows its release by the place where it stands.
        shutil.copytree(RUNTIME, release / "lib" / "pygun_runtime", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(APP / "wsgi.py", release / "src")
        given = {
            "flask_app_name": "bench",
            "flask_app_log_dir": str(logs),
            "flask_app_bind": f"127.0.0.1:{self.port}",
            "bench_release": str(release),
            **{f"flask_app_{key}": value for key, value in self.settings.items()},
        }
        run("ansible-playbook", "-i", "localhost,", "-c", "local", HERE / "render.yml", "-e", json.dumps(given),
            cwd=ROOT, capture_output=True, text=True)  # fmt: skip
        for number in range(self.instances):
            (logs / f"bench-{number}.log").touch()
            self.spawn(
                [str(release / "venv/bin/python"), "-I", str(release / "lib/pygun_runtime/launch.py")],
                stdin=listener,
                env={
                    "SUPERVISOR_PROCESS_NAME": f"bench-{number}",
                    "PYGUN_RUN_DIR": str(run_dir),
                    "PYGUN_INSTANCES": str(self.instances),
                    "PYTHONPATH": str(release / "lib"),  # a release's venv has it in a .pth file
                },
            )
        listener.close()

    def check(self) -> None:
        """All of them: one that answers does not mean that both are there."""
        super().check()
        deadline = time.monotonic() + PATIENCE
        while True:
            ready = {path.name.split(".")[0] for path in (self.place / "run").glob("*.ready")}
            if len(ready) == self.instances:
                break
            if time.monotonic() > deadline:
                raise Failed(f"{self.name}: only {sorted(ready)} became ready.")
            time.sleep(0.1)
        if self.settings.get("log_access", True) and not any(
            b'"GET / 200"' in log.read_bytes() for log in (self.place / "log").glob("*.log")
        ):
            raise Failed(f"{self.name} does not write access lines.")


class Nginx(Server):
    endpoints = ("hello",)


def start_all(folder: Path, venv: Path, steps: int, only: Collection[str] = ()) -> list[Server]:
    """Ours, the peers, and the limits; or some of them."""
    programs, count = venv / "bin", measure.processors()
    many = str(2 * count + 1)  # what gunicorn's documentation advises

    def gunicorn(*options: str) -> Callable[[Path, int], list[str]]:
        return lambda place, port: [f"{programs}/gunicorn", "-b", f"127.0.0.1:{port}", *options]

    def tutorial(place: Path, port: int) -> list[str]:
        (place / "tutorial.py").write_text(TUTORIAL)
        return gunicorn("-c", str(place / "tutorial.py"))(place, port)

    def nginx(place: Path, port: int) -> list[str]:
        (place / "nginx.conf").write_text(NGINX.format(place=place, port=port))
        return ["nginx", "-e", f"{place}/error.log", "-c", f"{place}/nginx.conf"]

    peers = {
        "the tutorial's": tutorial,
        "gunicorn gevent": gunicorn("-k", "gevent", "-w", many, "wsgi:app"),
        "gunicorn gthread": gunicorn("-k", "gthread", "-w", many, "--threads", "8", "wsgi:app"),
        "gunicorn sync": gunicorn("-w", many, "wsgi:app"),
        "uWSGI": lambda place, port: [
            f"{programs}/uwsgi", "--http", f"127.0.0.1:{port}", "--http-keepalive=75", "--http-auto-chunked", "--master",
            "--processes", str(count), "--threads", "8", "--listen", "1024", "--die-on-term", "--need-app",
            "--disable-logging", "--home", str(venv), "--module", "wsgi:app",
        ],
        "waitress": lambda place, port: [
            f"{programs}/waitress-serve", f"--listen=127.0.0.1:{port}", "--threads=8", "--connection-limit=4096",
            "--asyncore-use-poll", "wsgi:app",
        ],
        "granian": lambda place, port: [
            f"{programs}/granian", "--interface", "wsgi", "--port", str(port), "--workers", str(count),
            "--blocking-threads", "8", "wsgi:app",
        ],
        "Flask's development server": lambda place, port: [f"{programs}/flask", "--app", "wsgi", "run", "-p", str(port)],
    }  # fmt: skip
    servers: list[Server] = []
    try:
        for name, settings in (
            ("ours", {}),
            ("ours, no access log", {"log_access": False}),
            ("ours, bare WSGI", {"wsgi": "wsgi:bare"}),
        ):
            if not only or name in only:
                servers.append(Ours(name, folder / name.rpartition(", ")[2].replace(" ", "-"), venv, steps, **settings))
        for number, (name, command) in enumerate(peers.items()):
            if not only or name in only:
                servers.append(Server(name, folder / str(number), command, steps))
        if (not only or "nginx, a constant" in only) and have("nginx", "nginx-light"):
            servers.append(Nginx("nginx, a constant", folder / "nginx", nginx))
        for server in servers:
            server.check()
    except BaseException:
        stop_all(servers)
        raise
    return servers


def stop_all(servers: list[Server]) -> None:
    for server in servers:
        server.stop()


def have(program: str, package: str) -> bool:
    """Install what is missing. Debian starts nginx when it installs it: here it only lends its program."""
    if not shutil.which(program):
        try:
            install([package], "a benchmark asks for it")
        except Failed as error:
            say(f"Going on without {program}: {error}")
            return False
        if program == "nginx" and shutil.which("systemctl"):
            succeeds("systemctl", "disable", "--now", "nginx")
    return True


def wrk(url: str, cell: Cell, seconds: float) -> dict[str, float | None]:
    """What wrk measured."""
    command = [
        "wrk",
        "-t1",
        f"-c{cell.connections}",
        f"-d{seconds:.0f}s",
        "--timeout",
        "10s",
        "-s",
        str(HERE / "wrk.lua"),
    ]
    if not cell.keep_alive:
        command += ["-H", "Connection: close"]
    return parse(run(*command, url, capture_output=True, text=True).stdout)


def parse(text: str) -> dict[str, float | None]:
    """The last line of wrk's output, and what follows from it."""
    try:
        told = json.loads(text.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise Failed(f"wrk ended without figures:\n{text}") from None
    lost = sum(told[kind] for kind in ("connect", "read", "write", "timeout"))
    return {
        "requests": told["requests"],
        "rate": told["requests"] / (told["duration"] / 1e6),
        "p50_ms": told["p50"] / 1000 if told["requests"] else None,
        "p99_ms": told["p99"] / 1000 if told["requests"] else None,
        "wrong": told["status"],
        "lost": lost,
    }


def ask(server: Server, cell: Cell, seconds: float) -> dict[str, float | None]:
    """One server, one cell: rates, latencies, processor time."""
    before = measure.cpu_seconds(server.roots)
    found = wrk(f"http://127.0.0.1:{server.port}{ENDPOINTS[cell.endpoint]}", cell, seconds)
    spent = measure.cpu_seconds(server.roots) - before
    if found["wrong"]:
        raise Failed(f"{server.name}: {found['wrong']} answers that are no success ({cell.name})")
    if not found["requests"] and (cell.connections <= 50 and cell.keep_alive):
        raise Failed(f"{server.name} answered nothing ({cell.name})")
    found["cpu_us"] = spent / found["requests"] * 1e6 if found["requests"] else None
    settle(server)
    return found


def settle(server: Server) -> None:
    """Wait until the server has done what wrk no longer waits for: the next one shall not pay for it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            server.ask("/")  # behind all that it still works on, even if that is waiting
            break
        except OSError:
            time.sleep(0.1)
    before = measure.cpu_seconds(server.roots)
    while time.monotonic() < deadline:
        time.sleep(0.1)
        now = measure.cpu_seconds(server.roots)
        if now - before <= 0.01:
            return
        before = now


def steps_for(seconds: float) -> int:
    """How many steps of the app's computation take so long here, at best."""
    code = "import wsgi, time; wsgi.work(); a = time.process_time(); wsgi.work(); print(time.process_time() - a)"
    steps = 50000
    python = str(environment.benchmarks().folder / "bin" / "python")
    costs = [
        float(
            run(python, "-c", code, cwd=APP, env={**os.environ, "BENCH_STEPS": str(steps)}, capture_output=True, text=True).stdout
        )
        for _ in range(5)
    ]  # fmt: skip
    return max(1, round(steps * seconds / min(costs)))


def memory_of_forms(folder: Path, venv: Path, most: int | None) -> dict[str, int]:
    """Bytes of the same workers in different forms (at *most* so many; None: all), after some requests."""
    count = measure.processors()
    each = max(1, -(-count // INSTANCES))
    forms = {
        "two instances": (INSTANCES, {}),
        "two instances, preload": (INSTANCES, {"preload": True}),
        "one master, the same workers": (1, {"workers": each * INSTANCES}),
        "one master, the same workers, preload": (1, {"workers": each * INSTANCES, "preload": True}),
        "one instance, one worker": (1, {"workers": 1}),
    }
    found = {}
    for number, (name, (instances, settings)) in enumerate(list(forms.items())[:most]):
        server = Ours(name, folder / f"memory{number}", venv, 1, instances=instances, **settings)
        try:
            server.check()
            wrk(f"http://127.0.0.1:{server.port}/", Cell("hello", 50), 1)
            found[name] = measure.memory(server.roots)
        finally:
            server.stop()
    return found


def measure_all(mode: str) -> dict:
    """Run the part."""
    if not have("wrk", "wrk"):
        raise Failed("Serving cannot be measured without wrk.")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    venv = environment.benchmarks().ensure()
    cells = {"quick": QUICK, "headline": list(HEADLINE), "short": SHORT, "full": FULL}[mode]
    rounds = {"quick": 1, "headline": 3, "short": 3, "full": 7}[mode]
    scale = {"quick": 0.5, "headline": 0.5, "short": 1, "full": 2.5}[mode]
    steps = steps_for(0.005)
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    found: dict[str, dict[str, list[dict]]] = {}
    calibrations = []
    try:
        memory = memory_of_forms(folder, venv, most={"quick": 1, "headline": 0}.get(mode))
        servers = start_all(folder, venv, steps, {"quick": IN_QUICK, "headline": IN_HEADLINE}.get(mode, ()))
        try:
            if mode != "quick":
                for server in servers:  # warm-up
                    for endpoint in dict.fromkeys(cell.endpoint for cell in cells if server.is_asked(cell, mode)):
                        ask(server, Cell(endpoint, 50), 1)
            for number in range(rounds):
                for place, cell in enumerate(random.sample(cells, len(cells))):
                    say(f"Serving, round {number + 1} of {rounds}, {place + 1} of {len(cells)}: {cell.name}.")
                    # Requests that have begun and not ended count nowhere: with many connections the run must be longer.
                    seconds = max(1, scale * (2 if cell.connections <= 50 else 4))
                    calibrations.append(measure.calibrate())
                    for server in random.sample(servers, len(servers)):
                        if server.is_asked(cell, mode):
                            told = ask(server, cell, seconds)
                            found.setdefault(cell.name, {}).setdefault(server.name, []).append(told)
            names = [server.name for server in servers]
        finally:
            stop_all(servers)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        shutil.rmtree(folder)
    return {
        "noise": measure.noise(calibrations),
        "calibration": calibrations,
        "versions": versions(venv),
        "servers": names,
        "cells": {
            cell: {
                name: {key: measure.figure([one[key] for one in told]) for key in told[0]}
                for name, told in sorted(by_server.items(), key=lambda item: names.index(item[0]))
            }
            for cell, by_server in ((cell.name, found[cell.name]) for cell in cells)
        },
        "memory": memory,
    }


def versions(venv: Path) -> dict[str, str]:
    code = (
        "import importlib.metadata as m, json; "
        "print(json.dumps({n: m.version(n) for n in ('flask', 'gunicorn', 'gevent', 'granian', 'pyuwsgi', 'waitress')}))"
    )
    return json.loads(run(venv / "bin" / "python", "-c", code, capture_output=True, text=True).stdout)
