# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an access line costs: processor time of a worker per request, with the log in different hands.

Every variant is a real gunicorn with one lossless gevent worker and the same Flask app that says hello; all of them write
to files. In each round each variant answers the same number of requests, in another order each time, so that whatever else
the machine does hits all of them. What is counted is the time that the kernel says the worker was on a processor
(/proc/PID/schedstat), not the time on a clock.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import textwrap
import time
from pathlib import Path

from benchmarks import measure
from tools import environment
from tools.shell import Failed, say

RUNTIME = Path(__file__).parents[1] / "roles" / "flask_app" / "files"
CONNECTIONS = 8

APP = """
from flask import Flask

app = Flask(__name__)

@app.get("/")
def hello():
    return "hello"
"""

#: A JSON formatter for the logging module, as they are commonly written, behind gunicorn's own logger.
FORMATTER = """
import datetime, json, logging, os

class JsonFormatter(logging.Formatter):
    def format(self, record):
        atoms = record.args
        return json.dumps({
            "@timestamp": datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc).isoformat(timespec="milliseconds"),
            "log.level": record.levelname.lower(),
            "message": f"{atoms['m']} {atoms['U']} {atoms['s']}",
            "service.name": "app",
            "process.pid": os.getpid(),
            "log.logger": "access",
            "http.request.id": atoms["{x-request-id}i"],
            "client.address": atoms["h"],
            "http.request.method": atoms["m"],
            "url.path": atoms["U"],
            "url.query": atoms["q"],
            "http.response.status_code": int(atoms["s"]),
            "http.response.body.bytes": atoms["B"],
            "event.duration": atoms["D"] * 1000,
            "user_agent.original": atoms["a"],
        })
"""

OURS = "logger_class = runtime.logger_class\n"
VARIANTS = {
    "no access log": OURS + "accesslog = None\n",
    "this collection's JSON": OURS + 'accesslog = "-"\n',
    "this collection's text": OURS + 'accesslog = "-"\n',
    "gunicorn's own": "accesslog = {log!r}\n",
    "logging with a JSON formatter": textwrap.dedent("""\
        logconfig_dict = {{
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {{"json": {{"()": "formatter.JsonFormatter"}}}},
            "handlers": {{"json": {{"class": "logging.FileHandler", "filename": {log!r}, "formatter": "json"}}}},
            "root": {{"level": "INFO", "handlers": []}},
            "loggers": {{"gunicorn.access": {{"level": "INFO", "handlers": ["json"], "propagate": False}}}},
        }}
    """),
}
REFERENCE = "no access log"

REQUEST = b"GET /?q=1 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) benchmark\r\nAccept: */*\r\n\r\n"


class Server:
    """One variant of the log."""

    def __init__(self, python: Path, folder: Path, name: str, settings: str):
        self.name = name
        self.folder = folder
        folder.mkdir()
        (folder / "wsgi.py").write_text(APP)
        (folder / "formatter.py").write_text(FORMATTER)
        self.log = folder / "app-0.log"
        self.log.touch()
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = listener.getsockname()
        kind = "text" if "text" in name else "json"
        (folder / "pygun.py").write_text(
            "import pygun_runtime\n"
            f"runtime = pygun_runtime.Runtime(__file__, app='app', log_dir={str(folder)!r}, log_format={kind!r})\n"
            "wsgi_app = 'wsgi:app'\n"
            "worker_class = runtime.worker_class\n"
            "worker_tmp_dir = '/dev/shm'\n"
            "control_socket_disable = True\n"
            "keepalive = 75\n" + settings.format(log=str(self.log)) + "runtime.attach(globals())\n"
        )
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": f"{RUNTIME}{os.pathsep}{folder}",
            "SUPERVISOR_PROCESS_NAME": "app-0",
            "PYGUN_RUN_DIR": str(folder),
        }
        with (folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [str(python), "-m", "gunicorn", "-c", str(folder / "pygun.py")],
                stdin=listener,
                stdout=output,
                stderr=output,
                cwd=folder,
                env=environ,
            )
        listener.close()
        end = time.monotonic() + 20
        while not (ready := list(folder.glob("*.ready"))):
            if time.monotonic() > end or self.process.poll() is not None:
                raise Failed(f"{name} does not start:\n{(folder / 'output').read_text()}{self.log.read_text()}")
            time.sleep(0.05)
        self.worker = int(ready[0].name.split(".")[2])
        self.connections = [socket.create_connection(self.address) for _ in range(CONNECTIONS)]
        self.answered = 0

    def on_processor(self) -> float:
        """Seconds that the worker has been on a processor."""
        return int(Path(f"/proc/{self.worker}/schedstat").read_text().split()[0]) / 1e9

    def serve(self, requests: int) -> float:
        """Seconds of processor time per request."""
        before = self.on_processor()
        for _ in range(requests // CONNECTIONS):
            for connection in self.connections:
                connection.sendall(REQUEST)
            for connection in self.connections:
                answer = b""
                while not answer.endswith(b"hello"):
                    data = connection.recv(4096)
                    if not data:
                        raise Failed(f"{self.name}: the connection was closed")
                    answer += data
        done = requests // CONNECTIONS * CONNECTIONS
        self.answered += done
        return (self.on_processor() - before) / done

    def stop(self) -> int:
        """How many access lines there are."""
        for connection in self.connections:
            connection.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        return self.log.read_bytes().count(b"GET /")


def measure_all(mode: str) -> dict:
    """Run the part."""
    rounds, requests = {"quick": (2, 80), "short": (40, 480), "full": (200, 480)}[mode]
    python = environment.benchmarks().ensure() / "bin" / "python"
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    servers: list[Server] = []
    calibrations = []
    costs: dict[str, list[float]] = {name: [] for name in VARIANTS}
    try:
        for number, (name, settings) in enumerate(VARIANTS.items()):
            servers.append(Server(python, folder / str(number), name, settings))
        for number in range(rounds + 1):
            if number % 10 == 0:
                say(f"Logging, round {number} of {rounds}.")
                calibrations.append(measure.calibrate())
            for server in random.sample(servers, len(servers)):
                cost = server.serve(requests)
                if number:  # the first round warms up
                    costs[server.name].append(cost * 1e6)
        lines = {server.name: server.stop() for server in servers}
    finally:
        for server in servers:
            server.process.kill()
            server.process.wait()
        shutil.rmtree(folder)
    for server in servers:
        expected = server.answered if server.name != REFERENCE else 0
        if lines[server.name] != expected:
            raise Failed(f"{server.name}: {lines[server.name]} lines for {expected} requests that are to be logged")
    # Whatever else runs only ever adds to a cost, so the cheapest rounds are the truest; the ratios say how true.
    return {
        "noise": measure.noise(calibrations),
        "calibration": calibrations,
        "reference": REFERENCE,
        "variants": {
            name: {
                "cpu_us": statistics.quantiles(found, n=10, method="inclusive")[0],
                "ratio": measure.figure([a / b for a, b in zip(found, costs[REFERENCE])]),
            }
            for name, found in costs.items()
        },
    }
