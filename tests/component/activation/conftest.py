"""A real supervisord in a temporary folder, real gunicorn with the real runtime, and the real module in a process."""

import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import pytest

from tests.component.compiled import KEEP_BYTECODE, runtime_folder
from tests.component.supervised import SUPERVISORD, end, eventually, outcome, start_module, start_supervisord

HERE = Path(__file__).parent
COLLECTION = HERE.parents[2]
RUNTIME = runtime_folder() / "pygun_runtime"

APP = """
import os, time
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/slow"):
        time.sleep(float(path[6:] or 0.3))
    status = HEALTH if path == "/healthz" else "200 OK"
    start_response(status, [("Content-Type", "text/plain")])
    return [VERSION.encode() + b" " + os.environ.get("COLOUR", "none").encode()]
"""

PYGUN = """
import pygun_runtime
runtime = pygun_runtime.Runtime(
    __file__,
    app={name!r},
    bind={bind!r},
    run_dir={run_dir!r},
    env_file={env_file!r},
    health_path={health_path!r},
    boot_timeout={boot_timeout!r},
    log_dir={log_dir!r},
)
wsgi_app = {wsgi!r}
chdir = runtime.source
workers = 1
worker_class = runtime.worker_class
control_socket = runtime.control_socket
graceful_timeout = 5
keepalive = 2
logger_class = runtime.logger_class
accesslog = None
errorlog = "-"
{settings}
runtime.attach(globals())
"""


def as_root():
    """How to run a command as root, or as root of a user namespace: candidate links must be owned by root."""
    if os.geteuid() == 0:
        return []
    prefix = ["unshare", "--user", "--map-root-user"]
    if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs root, or a kernel that lets users make user namespaces")
    return prefix


def free_port():
    """A port that no outgoing connection takes meanwhile: those begin at 32768."""
    while True:
        port = random.randrange(20000, 32000)  # noqa: S311
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Host:
    """One machine: a folder with a supervisord in it."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="pygun-", dir="/tmp"))  # a short path: unix sockets have 107 bytes
        (self.folder / "conf.d").mkdir()
        tools = self.folder / "tools"
        (tools / "supervisor" / "bin").mkdir(parents=True)
        (tools / "supervisor" / "bin" / "python").symlink_to(Path(sys.executable).resolve())
        (tools / "launch.py").write_bytes((RUNTIME / "launch.py").read_bytes())
        (self.folder / "supervisord.conf").write_text(SUPERVISORD.format(folder=self.folder))
        self.apps = 0
        self.process = None

    def boot(self):
        self.process = start_supervisord(self.folder, as_root())

    def shut_down(self):
        if self.process is not None:
            end(self.process, 20)

    def new_app(self, **options):
        return App(self, **options)

    def all_processes(self):
        groups = {info["group"] for info in self.status().call("supervisor.getAllProcessInfo")}
        return [process for group in groups for process in self.status().processes(group)]

    def status(self):
        from ansible_collections.pygun.stack.plugins.module_utils.supervisor.rpc import Supervisor

        return Supervisor(str(self.folder / "supervisor.sock"))


class App:
    """One app on the host, and everything a test does with it."""

    def __init__(self, host, instances=2, env=None):
        host.apps += 1
        self.host = host
        self.name = f"app{host.apps}"
        self.folder = host.folder / self.name
        self.root, self.run, self.log, self.etc = (self.folder / part for part in ("srv", "run", "log", "etc"))
        for path in (self.root / "releases", self.run, self.log, self.etc):
            path.mkdir(parents=True)
        self.conf = host.folder / "conf.d" / f"{self.name}.conf"
        self.env = self.etc / "app.env"
        self.port = free_port()
        self.instances = instances
        self.conf_extra = ""
        self.env_content = "COLOUR=red\n" if env is None else env
        self.boot_timeout = 10
        self.built = 0

    # -- releases --

    def release(
        self, version=None, source=APP, health="200 OK", settings="", health_path="/healthz", wsgi="wsgi:app", named=""
    ):
        """Build a release by hand; its id counts up, unless it is given."""
        self.built += 1
        release = named or f"{self.built:016x}"
        folder = self.root / "releases" / release
        (folder / "src").mkdir(parents=True)
        head = f"VERSION = {version or release!r}\nHEALTH = {health!r}\n"
        (folder / "src" / "wsgi.py").write_text(head + textwrap.dedent(source))
        (folder / "lib").mkdir()
        shutil.copytree(RUNTIME, folder / "lib" / "pygun_runtime")
        packages = folder / "venv" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
        packages.mkdir(parents=True)
        shared = next(path for path in sys.path if path.endswith("site-packages"))
        (packages / "shared.pth").write_text(f"{shared}\n{folder / 'lib'}\n")
        (folder / "venv" / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
        (folder / "venv" / "bin").mkdir()
        (folder / "venv" / "bin" / "python").symlink_to(Path(sys.executable).resolve())
        gunicorn = "from gunicorn.app.wsgiapp import run\nrun()\n"
        (folder / "venv" / "bin" / "gunicorn").write_text(gunicorn)
        (folder / "pygun.py").write_text(
            PYGUN.format(
                name=self.name,
                bind=f"127.0.0.1:{self.port}",
                run_dir=str(self.run),
                env_file=str(self.env),
                health_path=health_path,
                boot_timeout=self.boot_timeout,
                log_dir=str(self.log),
                wsgi=wsgi,
                settings=settings,
            )
        )
        service = {"health_path": health_path, "boot_timeout": self.boot_timeout, "graceful_timeout": 5}
        places = {"env_file": str(self.env), "run_dir": str(self.run), "log_dir": str(self.log)}
        (folder / "release.json").write_text(json.dumps({"id": release, "service": {**service, **places}}))
        return release

    # -- activate --

    def conf_content(self):
        return (
            textwrap.dedent(f"""\
            [fcgi-program:{self.name}]
            command={self.root}/current/venv/bin/python -I {self.root}/current/lib/pygun_runtime/launch.py
            process_name=%(program_name)s-%(process_num)d
            numprocs={self.instances + 1}
            socket=tcp://127.0.0.1:{self.port}
            environment=PYGUN_RUN_DIR="{self.run}",PYGUN_INSTANCES="{self.instances}"
            autorestart=true
            startsecs=1
            startretries=100000
            stopwaitsecs=8
            killasgroup=true
            redirect_stderr=false
            stdout_logfile={self.log}/%(program_name)s-%(process_num)d.log
            stdout_logfile_maxbytes=0
            stderr_logfile={self.log}/%(program_name)s-%(process_num)d.raw.log
            """)
            + self.conf_extra
        )

    def programs(self, *programs):
        """The files of programs of the app's release, as the role writes them."""
        from ansible_collections.pygun.stack.plugins.module_utils.supervisor.release_programs import render

        facts = {
            "name": self.name,
            "root": str(self.root),
            "user": "root",
            "run_dir": str(self.run),
            "log_dir": str(self.log),
        }
        places = {"conf_dir": str(self.host.folder), "tools_dir": str(self.host.folder / "tools")}
        return render([{"startsecs": 1, **one} for one in programs], {**facts, **places, "stopwaitsecs": 20})

    def parameters(self, release, **more):
        found = {
            "name": self.name,
            "release": release,
            "root": str(self.root),
            "run_dir": str(self.run),
            "log_dir": str(self.log),
            "supervisor_socket": str(self.host.folder / "supervisor.sock"),
            "program_conf": {"path": str(self.conf)},
            "by": "tester",
        }
        found.update(more)
        return found

    def start(self, release, check=False, diff=False, kill_at=None, hold_at=None, trace=None, memory=None, **more):
        """The module as a process."""
        given = self.parameters(release, **more)
        given.update(_ansible_check_mode=check, _ansible_diff=diff)
        return start_module(
            [*as_root(), sys.executable, str(HERE / "run_activate.py")],
            given,
            PYGUN_TEST_KILL_AT=kill_at,
            PYGUN_TEST_HOLD_AT=hold_at,
            PYGUN_TEST_HOLD_FILE=hold_at and self.folder / "held",
            PYGUN_TEST_MEMORY=memory,
            PYGUN_TEST_TRACE=trace,
            **KEEP_BYTECODE,
        )

    outcome = staticmethod(outcome)

    def activate(self, release, **more):
        return self.outcome(self.start(release, **more))

    def deploy(self, release, **more):
        """As the role does it: with files, and with another chance for a release that failed."""
        more.setdefault("retry_failed", True)
        more.setdefault("program_conf", {"path": str(self.conf), "content": self.conf_content()})
        more.setdefault("env_file", {"path": str(self.env), "content": self.env_content})
        return self.activate(release, **more)

    def rollback(self, release="previous", **more):
        """As playbooks/rollback.yml does it: the program's configuration is only looked at."""
        return self.activate(release, **more)

    def run_module(self, module, check=False, **parameters):
        """Another module of the collection as a process, on this host."""
        given = {"conf_dir": str(self.host.folder), "base_dir": str(self.host.folder / "none"), **parameters}
        done = subprocess.run(
            [*as_root(), sys.executable, str(HERE.parent / "run_module.py"), module],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": {**given, "_ansible_check_mode": check, "_ansible_diff": True}}),
            env={**os.environ, **KEEP_BYTECODE, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def control(self, state, **more):
        """As playbooks/start.yml, stop.yml and restart.yml do it."""
        return self.run_module("control", **{"name": self.name, "state": state, **more})

    # -- what is there --

    @property
    def current(self):
        link = self.root / "current"
        return link.readlink().name if link.is_symlink() else None

    @property
    def state(self):
        return json.loads((self.root / "state.json").read_text())

    def pids(self):
        """By instance. The last process of the group is none: it holds the socket."""
        found = {process.name: process.pid for process in self.host.status().processes(self.name)}
        found.pop(self.holder, None)
        return found

    @property
    def holder(self):
        return f"{self.name}-{self.instances}"

    def holder_pid(self):
        return self.host.status().process(f"{self.name}:{self.holder}").pid

    def states(self):
        return {process.name: process.state for process in self.host.status().processes(self.name)}

    def releases_running(self):
        """By instance, asked over each private socket: what really answers."""
        from ansible_collections.pygun.stack.plugins.module_utils.instance.run_directory import RunDirectory

        run, pids = RunDirectory(str(self.run)), self.pids()
        names = [f"{self.name}-{number}" for number in range(self.instances)]
        return {name: run.ask(name, pids[name], "/", 5).text.partition(" ")[0] for name in names}

    def get(self, path="/"):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def leftovers(self):
        """What a transaction left lying about."""
        left = [path.name for path in [*self.run.glob("*.next*"), *self.folder.glob("pygun/run/*")]]
        left += [
            path.name for path in self.root.glob("*") if path.name.endswith(".tmp") or path.name == "activation.json"
        ]
        left += [
            path.name
            for path in [*self.etc.glob("*"), *self.conf.parent.glob("*")]
            if path.suffix in (".before", ".tmp")
        ]
        return left

    def remove(self):
        supervisor = self.host.status()
        for path in (self.conf, *self.conf.parent.glob(f"{self.name}.*.conf")):
            path.unlink(missing_ok=True)
        supervisor.reload_config()

        def ours():
            found = supervisor.all_processes()
            return [process for process in found if process.group.partition(".")[0] == self.name]

        for process in ours():
            if process.state in ("RUNNING", "STARTING", "BACKOFF"):
                supervisor.stop(process.full_name)
                if process.pid:  # nobody waits for its drain
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
        eventually(lambda: {process.state for process in ours()} <= {"STOPPED", "EXITED", "FATAL"})
        for group in {process.group for process in ours()}:
            supervisor.remove_group(group)
        shutil.rmtree(self.folder)


class Load:
    """Requests without a pause; every one that fails is kept."""

    def __init__(self, app, path="/", threads=2):
        self.app, self.path = app, path
        self.sent, self.failures = 0, []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def _run(self):
        while not self._stop.is_set():
            try:
                status, text = self.app.get(self.path)
                if status != 200:
                    self.failures.append(f"{status} {text}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
            self.sent += 1
            time.sleep(0.04)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        eventually(lambda: self.sent > 2)
        return self

    def __exit__(self, *_exception):
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture(scope="session")
def host():
    found = Host()
    found.boot()
    yield found
    found.shut_down()
    shutil.rmtree(found.folder)


@pytest.fixture
def make_host():
    """Hosts that a test may break."""
    made = []

    def make():
        made.append(Host())
        made[-1].boot()
        return made[-1]

    yield make
    for host in made:
        host.shut_down()
        shutil.rmtree(host.folder)


@pytest.fixture(name="eventually")
def eventually_fixture():
    return eventually


@pytest.fixture
def make_app(host):
    made = []

    def make(**options):
        made.append(App(host, **options))
        return made[-1]

    yield make
    for app in made:
        app.remove()


@pytest.fixture
def app(make_app):
    """An app with nothing in service yet."""
    return make_app()


@pytest.fixture
def served(app):
    """An app whose first release serves, without having been tried."""
    result = app.deploy(app.release(), preflight=False)
    assert not result.get("failed"), result["msg"]
    return app


@pytest.fixture
def single(make_app):
    """A served app with one instance, and a process that only holds the socket."""
    app = make_app(instances=1)
    result = app.deploy(app.release(), preflight=False)
    assert not result.get("failed"), result["msg"]
    return app


@pytest.fixture(scope="module")
def old(host):
    """A served app that the tests of a file share: what one leaves behind breaks the next. Its boot timeout is short."""
    app = App(host)
    app.boot_timeout = 6
    result = app.deploy(app.release(), preflight=False)
    assert not result.get("failed"), result["msg"]
    yield app
    app.remove()


@pytest.fixture
def load():
    return Load
