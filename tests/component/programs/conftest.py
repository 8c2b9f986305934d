"""A real supervisord in a temporary folder, and the real module in a process of its own."""

import getpass
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from tests.component.supervised import SUPERVISORD, end, eventually, outcome, start_module, start_supervisord

HERE = Path(__file__).parent


class Host:
    """A folder with a supervisord in it."""

    me = getpass.getuser()

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="pygun-", dir="/tmp"))  # a short path: unix sockets have 107 bytes
        self.folder.chmod(0o755)
        self.conf, self.logs = self.folder / "conf.d", self.folder / "logs"
        self.conf.mkdir()
        self.logs.mkdir()
        (self.folder / "supervisord.conf").write_text(SUPERVISORD.format(folder=self.folder))
        self.process = None

    def boot(self):
        self.process = start_supervisord(self.folder)

    def shut_down(self):
        if self.process is not None:
            end(self.process, 30)

    @property
    def supervisor(self):
        from ansible_collections.pygun.stack.plugins.module_utils.supervisor.rpc import Supervisor

        return Supervisor(str(self.folder / "supervisor.sock"))

    # -- the module --

    def program(self, name, command="/bin/sleep 1000", **more):
        return {"name": name, "command": command, "user": self.me, "startsecs": 0, **more}

    def listener(self, name, command=None, **more):
        command = command or f"{sys.executable} {HERE / 'listener.py'}"
        return {"events": ["TICK_5"], **self.program(name, command, **more)}

    def apply(self, programs=(), listeners=(), scope="supervisor", **more):
        return self.outcome(self.start(programs, listeners, scope, **more))

    def start(self, programs=(), listeners=(), scope="supervisor", check=False, kill_at=None, **more):
        given = {
            "scope": scope,
            "programs": list(programs),
            "listeners": list(listeners),
            "conf_dir": str(self.conf),
            "log_dir": str(self.logs),
            "supervisor_socket": str(self.folder / "supervisor.sock"),
            "start_timeout": 5,
            "_ansible_check_mode": check,
            "_ansible_diff": True,
            **more,
        }
        return start_module([sys.executable, str(HERE / "run_programs.py")], given, PYGUN_TEST_KILL_AT=kill_at)

    outcome = staticmethod(outcome)

    # -- what is there --

    def processes(self):
        return {process.full_name: process for process in self.supervisor.all_processes()}

    def pids(self):
        return {name: process.pid for name, process in self.processes().items()}

    def states(self):
        return {name: process.state for name, process in self.processes().items()}

    def files(self):
        return {path.name: path.read_text() for path in self.conf.iterdir()}

    def environment(self, name):
        content = Path(f"/proc/{self.pids()[name]}/environ").read_bytes()
        return dict(entry.split("=", 1) for entry in content.decode().split("\0") if entry)

    def arguments(self, name):
        return Path(f"/proc/{self.pids()[name]}/cmdline").read_bytes().decode().split("\0")[:-1]


@pytest.fixture
def host():
    """One for each test: what is left behind must be seen."""
    found = Host()
    found.boot()
    yield found
    found.shut_down()
    shutil.rmtree(found.folder)


@pytest.fixture(name="eventually")
def eventually_fixture():
    return eventually
