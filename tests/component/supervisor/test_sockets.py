"""A socket that cannot be opened costs its own program alone: a real supervisord under the role's launcher."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.supervisor.rpc import CannotReread, SpawnError, Supervisor
from tests.component.supervised import LAUNCHER, SUPERVISORD, eventually, listens

#: Answers with its own name.
SERVER = (
    "import socket, sys; s = socket.socket(fileno=0)\nwhile True: c = s.accept()[0]; c.sendall(b'served'); c.close()"
)
HEALTHY = "[program:other]\ncommand=/bin/sleep 1000\nstartsecs=0\nstopsignal=KILL\n"


class Host:
    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="pygun-", dir="/tmp"))  # a short path: unix sockets have 107 bytes
        (self.folder / "conf.d").mkdir()
        (self.folder / "supervisord.conf").write_text(SUPERVISORD.format(folder=self.folder))
        (self.folder / "conf.d" / "other.conf").write_text(HEALTHY)
        (self.folder / "server.py").write_text(SERVER)
        self.script = Path(sys.executable).with_name("supervisord")
        self.process = None

    def program(self, address, **settings):
        lines = {"command": f"{sys.executable} {self.folder}/server.py", "socket": address, "numprocs": 2}
        lines |= {
            "process_name": "%(program_name)s-%(process_num)d",
            "startretries": 100000,
            "startsecs": 0,
            "stopsignal": "KILL",
            **settings,
        }
        text = "\n".join(f"{name}={value}" for name, value in lines.items())
        (self.folder / "conf.d" / "app.conf").write_text(f"[fcgi-program:app]\n{text}\n")

    def boot(self, launcher=LAUNCHER):
        with (self.folder / "supervisord.out").open("a") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-I", launcher, self.script, "-n", "-c", self.folder / "supervisord.conf"],
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        eventually(lambda: listens(self.folder / "supervisor.sock") or self.process.poll() is not None, 20)
        assert self.process.poll() is None, (self.folder / "supervisord.out").read_text()

    def shut_down(self, seconds=20):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(seconds)

    @property
    def supervisor(self):
        return Supervisor(str(self.folder / "supervisor.sock"))

    def states(self, group="app"):
        return {process.state for process in self.supervisor.processes(group)}

    def told(self, process="app:app-0"):
        eventually(lambda: self.supervisor.process(process).state in ("BACKOFF", "FATAL"), 10)
        return self.supervisor.process(process).spawn_error


@pytest.fixture
def host():
    made = Host()
    yield made
    made.shut_down()
    shutil.rmtree(made.folder)


def answer(family, address):
    with contextlib.suppress(OSError), socket.socket(family) as client:
        client.connect(address)
        return client.recv(100)
    return b""


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_the_program_of_a_port_that_somebody_has_waits_for_it_while_the_others_run(host):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        host.program(f"tcp://127.0.0.1:{port}")
        host.boot()
        assert host.told() == f"cannot open its socket tcp://127.0.0.1:{port}: [Errno 98] Address already in use"
        assert host.states("other") == {"RUNNING"}
        pid = host.supervisor.processes("other")[0].pid
    eventually(lambda: host.states() == {"RUNNING"}, 10)
    assert answer(socket.AF_INET, ("127.0.0.1", port)) == b"served"
    assert host.supervisor.processes("other")[0].pid == pid
    assert Path(f"/proc/{host.process.pid}/comm").read_text() == "supervisord\n"


def test_the_pauses_between_two_tries_do_not_grow_for_as_long_as_the_port_is_taken(host):
    """supervisor itself waits a second longer after each try: a minute after half an hour."""
    launcher = host.folder / "launcher.py"
    launcher.write_text(LAUNCHER.read_text().replace("LONGEST_PAUSE = 5", "LONGEST_PAUSE = 1"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host.program(f"tcp://127.0.0.1:{taken.getsockname()[1]}", numprocs=1)
        host.boot(launcher)
        log, begun = host.folder / "supervisord.log", time.monotonic()
        eventually(lambda: log.read_text().count("spawnerr: cannot open its socket") == 4, 20)
    assert time.monotonic() - begun < 5  # 1 + 2 + 3 without


@pytest.mark.parametrize(
    "kind, words",
    [
        ("dangling link", "Address already in use"),
        ("directory", "Is a directory|Operation not permitted"),
        ("no directory", "No such file or directory"),
        ("file in the way", "Not a directory"),
        ("long path", "AF_UNIX path too long"),
        ("foreign address", "Cannot assign requested address"),
        ("unknown name", "Name or service not known|Temporary failure|No address associated"),
        ("unknown owner", r"there is no nobody:no-such-group \(socket_owner\) on this host"),
    ],
)
def test_whatever_is_wrong_with_a_socket_is_told_and_costs_no_other_program(host, kind, words):
    path, settings = host.folder / "app.sock", {}
    if kind == "dangling link":
        path.symlink_to("/nowhere")
    elif kind == "directory":
        path.mkdir()
    elif kind == "no directory":
        path = host.folder / "none" / "app.sock"
    elif kind == "file in the way":
        path = host.folder / "supervisord.conf" / "app.sock"
    elif kind == "long path":
        path = host.folder / ("x" * 120)
    elif kind == "unknown owner":
        settings["socket_owner"] = "nobody:no-such-group"
    address = {"foreign address": "tcp://192.0.2.1:5000", "unknown name": "tcp://no-such-host.invalid:5000"}
    host.program(address.get(kind, f"unix://{path}"), **settings)
    host.boot()
    told = host.told()
    assert any(word in told for word in words.replace("\\", "").split("|")), told
    assert told.startswith("cannot open its socket ")
    assert host.states("other") == {"RUNNING"}
    assert host.supervisor.reload_config() == ([], [], [])
    if kind == "directory":
        path.rmdir()
        eventually(lambda: host.states() == {"RUNNING"}, 10)
        assert answer(socket.AF_UNIX, str(path)) == b"served"


def test_a_group_that_is_added_or_started_while_its_port_is_taken_gets_a_spawn_error(host):
    host.boot()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host.program(f"tcp://127.0.0.1:{taken.getsockname()[1]}", autostart="false", startretries=0)
        assert host.supervisor.reload_config()[0] == ["app"]
        host.supervisor.add_group("app")
        assert host.states() == {"STOPPED"}
        with pytest.raises(SpawnError):
            host.supervisor.start("app:app-0")
        assert "Address already in use" in host.told()
        eventually(lambda: host.supervisor.process("app:app-0").state == "FATAL", 10)  # startretries holds here too
        host.supervisor.call("supervisor.removeProcessGroup", "app")
    host.supervisor.add_group("app")
    host.supervisor.start("app:app-0")
    eventually(lambda: host.states() == {"RUNNING", "STOPPED"}, 10)


def test_a_supervisor_without_what_the_launcher_needs_runs_as_it_is(host):
    """Whatever the venv's script does, the launcher runs it; what it cannot change it leaves."""
    site = Path(host.folder) / "old" / "supervisor"
    site.mkdir(parents=True)
    (site / "__init__.py").write_text("")
    (site / "options.py").write_text("")
    (site / "process.py").write_text("class FastCGISubprocess: pass\n")
    script = host.folder / "supervisord"
    script.write_text("import sys; print('ran', sys.argv[1:], __name__)")
    done = subprocess.run(
        [sys.executable, LAUNCHER, script, "-n"],
        env={**os.environ, "PYTHONPATH": str(site.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "ran ['-n'] __main__\n"
    assert "this supervisor ends when it cannot open one program's socket" in done.stderr


def test_the_socket_of_a_healthy_program_is_opened_as_before(host):
    host.program(f"unix://{host.folder}/app.sock", socket_mode="0660")
    host.boot()
    eventually(lambda: host.states() == {"RUNNING"}, 10)
    assert answer(socket.AF_UNIX, f"{host.folder}/app.sock") == b"served"
    assert (host.folder / "app.sock").stat().st_mode & 0o777 == 0o660


@pytest.mark.parametrize("lack", ["user", "log directory"])
def test_a_program_whose_user_or_log_directory_does_not_exist_costs_no_other_program(host, lack):
    folder = host.folder / "logs"
    setting = {"user": "no-such-user"} if lack == "user" else {"stderr_logfile": f"{folder}/app.log"}
    host.program(f"unix://{host.folder}/app.sock", **setting)
    (host.folder / "conf.d" / "listener.conf").write_text(
        "[eventlistener:ear]\nevents=TICK_5\ncommand=/bin/cat\n"
        + "".join(f"{key}={value}\n" for key, value in setting.items())
    )
    host.boot()
    words = "there is no user no-such-user on this host" if lack == "user" else "ENOENT"
    assert words in host.told() or "no-such-user (socket_owner)" in host.told()
    assert words in host.told("ear:ear")
    assert host.states("other") == {"RUNNING"}
    with pytest.raises(CannotReread):
        host.supervisor.reload_config()
    if lack == "log directory":
        folder.mkdir()
        eventually(lambda: host.states() == {"RUNNING"}, 10)


def test_the_public_socket_is_open_from_the_start_of_supervisord(host):
    """supervisor itself closes it until its first process is spawned a second later: callers are refused meanwhile."""
    port = free_port()
    host.program(f"tcp://127.0.0.1:{port}")
    host.boot()
    assert answer(socket.AF_INET, ("127.0.0.1", port)) == b"served"
    eventually(lambda: host.states() == {"RUNNING"}, 10)
    for number in range(2):
        host.supervisor.stop(f"app:app-{number}")
    eventually(lambda: host.states() == {"STOPPED"}, 10)
    with pytest.raises(ConnectionRefusedError), socket.socket() as client:
        client.connect(("127.0.0.1", port))


def test_what_an_app_puts_in_the_place_of_its_socket_file_keeps_its_owner_and_mode():
    """The app can rename in its own run directory, between bind(2) and the changes that root makes."""
    done = subprocess.run(
        [sys.executable, "-c", SWAP],
        env={**os.environ, "LAUNCHER": str(LAUNCHER)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "refused 600\nrefused 600\nsocket 660\n", done.stderr


SWAP = """
import importlib.util, os, socket, tempfile
from supervisor import options
spec = importlib.util.spec_from_file_location("launcher", os.environ["LAUNCHER"])
launcher = importlib.util.module_from_spec(spec)
spec.loader.exec_module(launcher)
launcher.secure_socket_files(options)
folder = tempfile.mkdtemp()
path, secret = f"{folder}/app.sock", f"{folder}/shadow"
os.close(os.open(secret, os.O_CREAT, 0o600))
for swap in (os.symlink, os.link):
    class Swapped(options.UnixStreamSocketConfig):
        def _chown(self):
            os.unlink(path)
            swap(secret, path)
            super()._chown()
    try:
        Swapped(path, mode=0o666, owner=(os.getuid(), os.getgid())).create_and_bind()
    except ValueError as error:
        print("refused", oct(os.stat(secret).st_mode & 0o777)[2:])
config = options.UnixStreamSocketConfig(path, mode=0o660, owner=(os.getuid(), os.getgid()))
opened = config.create_and_bind()
print("socket", oct(os.stat(path).st_mode & 0o777)[2:])
"""
