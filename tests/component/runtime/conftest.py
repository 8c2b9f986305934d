"""Real gunicorn masters on sockets of this test, each with a release of its own in a short temporary folder."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.diagnosis.log_tail import plain_lines
from tests.component.compiled import runtime_folder

RUNTIME = runtime_folder()

APP = """
import os, sys, time
from flask import Flask, request

app = Flask(__name__)

@app.get("/")
def index():
    return str(os.getpid())

@app.get("/healthz")
def healthz():
    return "ok"

@app.get("/wait/<float:seconds>")
def wait(seconds):
    time.sleep(seconds)
    return str(os.getpid())

@app.get("/busy/<float:seconds>")
def busy(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    return str(os.getpid())

@app.get("/hash")
def hash():
    import hashlib
    return hashlib.pbkdf2_hmac("sha512", b"password", b"salt", 50_000_000).hex()

@app.get("/stream/<int:chunks>")
def stream(chunks):
    def produce():
        for number in range(chunks):
            time.sleep(0.2)
            yield f"{number}\\n"
    return app.response_class(produce())

@app.post("/upload")
def upload():
    return str(len(request.get_data()))
"""


def eventually(condition, seconds=60.0, what=None):
    """The first true value of *condition*, asked for at most *seconds*."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, what() if callable(what) else what or "condition did not become true"
        time.sleep(0.02)


def read_records(paths):
    """What workers have written, in the order of the names; one that has just gone takes its own with it."""
    found = []
    for path in sorted(paths):
        with contextlib.suppress(FileNotFoundError):
            found.append(json.loads(path.read_text()))
    return found


class Client:
    """One connection, with nothing between the test and the bytes."""

    def __init__(self, address, timeout=60.0):
        self.socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self.socket.settimeout(timeout)
        self.socket.connect(address)
        self.file = self.socket.makefile("rb")

    def send(self, path, method="GET", body=b"", headers=()):
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def receive(self):
        """Status, headers and body of the next answer; ConnectionError if it does not come whole."""
        line = self.file.readline()
        if not line:
            raise ConnectionError("the connection was closed without an answer")
        status = int(line.split()[1])
        headers = {}
        while (line := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.file.readline() or self._cut(), 16):
                body += self._exactly(size + 2)[:-2]
            self._exactly(2)
        else:
            body = self._exactly(int(headers.get("content-length", 0)))
        return status, headers, body.decode()

    def get(self, path):
        self.send(path)
        return self.receive()

    def _exactly(self, size):
        data = self.file.read(size)
        return data if len(data) == size else self._cut()

    @staticmethod
    def _cut():
        raise ConnectionError("the answer was cut off")

    def close(self):
        self.file.close()
        self.socket.close()


class Instance:
    """One gunicorn master, started the way supervisor starts it: the listening socket on fd 0."""

    def __init__(
        self, host, *, listener=None, name="app-0", gate=False, environ=None, arguments=None, app=APP, **pygun
    ):
        self.host = host
        self.name = name
        self.listener = host.listener if listener is None else listener
        self.run = host.folder / "run"
        self.release = host.release(app, **pygun)
        self.log_path = host.folder / f"log{len(host.instances)}"
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(host.folder),
            "TMPDIR": str(host.folder),  # gunicorn ends whom the pid file of a dirty arbiter names, also another test's
            "PYTHONPATH": str(RUNTIME),
            "PYTHONUNBUFFERED": "1",
            "SUPERVISOR_PROCESS_NAME": name,
            "PYGUN_RUN_DIR": str(self.run),
            **({"PYGUN_GATE": "1"} if gate else {}),
            **(environ or {}),
        }
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603
                arguments or [sys.executable, "-m", "gunicorn", "-c", str(self.release / "pygun.py")],
                stdin=self.listener or subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.release,
                env={key: value for key, value in environ.items() if value is not None},
            )
        self.pid = self.process.pid
        self.private = str(self.run / f"{name}.sock")

    def log(self):
        """What it says on stdout and stderr, as a person reads it."""
        return "\n".join(plain_lines(self.log_path.read_text(errors="replace")))

    def record(self):
        return json.loads((self.run / f"{self.name}.json").read_text())

    def ready(self):
        return read_records(self.run.glob(f"{self.name}.{self.pid}.*.ready"))

    def workers(self):
        return [record["pid"] for record in self.ready()]

    def wait_ready(self, count=1, seconds=60):
        def check():
            assert self.process.poll() is None, self.log()
            return len(self.ready()) == count

        eventually(check, seconds, self.log)
        return self

    def signal(self, number):
        self.process.send_signal(number)

    def wait_exit(self, seconds=60):
        """The master's exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s:\n{self.log()}") from None

    def stop(self):
        """Seconds that a stop took."""
        start = time.monotonic()
        self.signal(signal.SIGTERM)
        self.wait_exit()
        return time.monotonic() - start


class Host:
    """A folder, a public socket, and the instances of one test."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="pygun-"))  # short: unix sockets have short paths
        (self.folder / "run").mkdir()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address = self.listener.getsockname()
        self.instances = []
        self.clients = []

    def release(self, app=APP, *, runtime="", worker_class="runtime.worker_class", own="", **settings):
        """A release folder; *runtime* holds more arguments of Runtime, *own* lines before attach(); a setting of None is left out."""
        release = self.folder / f"release{len(list(self.folder.glob('release*')))}"
        (release / "src").mkdir(parents=True)
        (release / "src" / "wsgi.py").write_text(textwrap.dedent(app))
        settings = {
            "workers": 1,
            "graceful_timeout": 10,
            "timeout": 30,
            "worker_tmp_dir": "/dev/shm",
            "control_socket_disable": True,
            **settings,
        }  # noqa: S108
        lines = [
            "import pygun_runtime",
            f"runtime = pygun_runtime.Runtime(__file__, app='app', {runtime})",
            "wsgi_app = 'wsgi:app'",
            "chdir = runtime.source",
            f"worker_class = {worker_class}",
            "logger_class = runtime.logger_class",
            *(f"{key} = {value!r}" for key, value in settings.items() if value is not None),
            textwrap.dedent(own),
            "runtime.attach(globals())",
        ]
        (release / "pygun.py").write_text("\n".join(lines) + "\n")
        return release

    def complete(self, release):
        """Give a release what launch.py needs: lib/ and the programs of a virtual environment."""
        shutil.copytree(RUNTIME / "pygun_runtime", release / "lib" / "pygun_runtime")
        programs = release / "venv" / "bin"
        programs.mkdir(parents=True)
        (programs / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (programs / "python").chmod(0o755)
        (programs / "gunicorn").write_text("from gunicorn.app.wsgiapp import run\nrun()\n")
        return release

    def launch(self, current, **options):
        """Start an instance with the launcher of `current`, as supervisor does."""
        launcher = str(current / "lib" / "pygun_runtime" / "launch.py")
        return self.start(arguments=[sys.executable, "-I", launcher], **options)

    def start(self, **options):
        instance = Instance(self, **options)
        self.instances.append(instance)
        return instance

    def connect(self, address=None):
        client = Client(address or self.address)
        self.clients.append(client)
        return client

    def get(self, path="/", address=None):
        client = Client(address or self.address)
        try:
            return client.get(path)
        finally:
            client.close()

    def close(self):
        for client in self.clients:
            client.close()
        for instance in self.instances:
            if instance.process.poll() is None:
                for pid in _children(instance.pid):
                    _kill(pid)
                instance.process.kill()
                instance.process.wait()
        self.listener.close()
        eventually(self._remove, 10, f"{self.folder} is still written to")

    def _remove(self):
        """Whether the folder is gone: a process that was killed may end in the middle of a write."""
        shutil.rmtree(self.folder, ignore_errors=True)
        return not self.folder.exists()


def _children(pid):
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def _kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


@pytest.fixture
def host():
    made = Host()
    yield made
    made.close()


@pytest.fixture(name="eventually")
def eventually_fixture():
    return eventually
