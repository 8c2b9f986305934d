"""An instance with a log, on the host of the runtime's tests: real gunicorn, real files."""

import importlib.util
import json
from pathlib import Path

import pytest

_FILE = Path(__file__).parents[1] / "runtime" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("pygun_runtime_host", _FILE)
_runtime = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_runtime)

host = _runtime.host
eventually_fixture = _runtime.eventually_fixture

APP = (
    _runtime.APP
    + """
import logging, threading, warnings

@app.get("/say/<how>")
def say(how):
    {
        "app": lambda: app.logger.info("said %s", how),
        "library": lambda: logging.getLogger("a.library").warning("said %s", how, extra={"user": 5}),
        "print": lambda: print("said", how),
        "stderr": lambda: sys.stderr.write("said stderr\\\\n"),
        "binary": lambda: sys.stdout.buffer.write(b"said binary \\\\xff\\\\n"),
        "warning": lambda: warnings.warn("said warning"),
        "bad arguments": lambda: app.logger.error("said %d %d", "x"),
    }[how]()
    return "ok"

@app.get("/fail")
def fail():
    raise ValueError("failed\\\\non purpose")

@app.get("/id")
def identifier():
    return request.headers["X-Request-ID"]
""".replace("\\\\", "\\")
)

WORKERS = {
    "lossless": {},
    "gthread": {"worker_class": "'gthread'", "threads": 4},
    "sync": {"worker_class": "'sync'"},
}


class Service:
    """One instance that writes to `path`."""

    def __init__(self, host, name="app-0"):
        self.host = host
        self.name = name
        self.folder = host.folder / "log"
        self.folder.mkdir(exist_ok=True)
        self.path = self.folder / f"{name}.log"
        self.path.touch()
        self.instance = None

    def start(self, app=APP, runtime="", own="", workers=1, **settings):
        """*own* holds more lines of pygun.py, *runtime* more arguments of Runtime."""
        self.instance = self.host.start(
            name=self.name,
            app=app,
            runtime=f"log_dir={str(self.folder)!r}, {runtime}",
            own=own,
            workers=workers,
            **{"accesslog": "-", **settings},
        ).wait_ready(workers)
        return self

    def text(self, path=None):
        return (path or self.path).read_bytes().decode()

    def lines(self, path=None):
        """Every line, each of which must be a JSON object."""
        found = []
        text = self.text(path)
        assert text == "" or text.endswith("\n")
        for line in text.split("\n")[:-1]:
            found.append(json.loads(line))
            assert isinstance(found[-1], dict), line
        return found

    def access(self):
        return [line for line in self.lines() if line["log.logger"] == "access"]

    def saying(self, text):
        """The one line whose message contains *text*."""
        found = [line for line in self.lines() if text in line["message"]]
        assert len(found) == 1, (text, self.text(), self.instance.log())
        return found[0]

    def get(self, path="/", *headers):
        client = self.host.connect()
        client.send(path, headers=["Connection: close", *headers])
        try:
            return client.receive()
        finally:
            client.close()  # gunicorn's own workers wait for that

    def raw(self, data):
        """Send bytes, and return all that is answered."""
        client = self.host.connect()
        client.socket.sendall(data)
        try:
            return client.file.read()
        finally:
            client.close()


@pytest.fixture
def service(host):
    return Service(host)


@pytest.fixture(params=WORKERS)
def any_worker(request):
    """Settings of each class of worker."""
    return WORKERS[request.param]


@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.full] * bool(number)) for number, name in enumerate(WORKERS)]
)
def a_worker(request):
    """Settings of the lossless worker, where our own logger has made the line before a worker's class could matter; of each with PYGUN_FULL=1."""
    return WORKERS[request.param]
