"""Which sockets a master listens on, and whose they are."""

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

RUNTIME = Path(__file__).parents[3] / "roles" / "flask_app" / "files"


def test_a_listening_socket_on_fd_0_is_served(host):
    instance = host.start().wait_ready()
    assert host.get()[2] == str(instance.workers()[0])


def test_each_instance_answers_on_its_private_socket(host):
    first = host.start(name="app-0").wait_ready()
    second = host.start(name="app-1").wait_ready()
    for instance in (first, second):
        assert int(host.get(address=instance.private)[2]) in instance.workers()


def test_the_private_socket_is_for_its_owner_only(host):
    instance = host.start().wait_ready()
    assert stat.S_IMODE(Path(instance.private).stat().st_mode) == 0o600


def test_the_app_finds_nothing_on_standard_input(host):
    app = "import os\nseen = os.readlink('/proc/self/fd/0').encode()\ndef app(e, s):\n    s('200 OK', [('Content-Length', str(len(seen)))])\n    return [seen]"
    host.start(app=app).wait_ready()
    assert host.get()[2] == os.devnull


def test_hup_keeps_the_sockets(host, eventually):
    instance = host.start().wait_ready()
    old = instance.workers()
    instance.signal(signal.SIGHUP)
    eventually(lambda: instance.workers() and not set(old) & set(instance.workers()), what=instance.log)
    assert int(host.get()[2]) in instance.workers()
    assert int(host.get(address=instance.private)[2]) in instance.workers()


def test_a_shared_unix_socket_outlives_an_instance(host):
    path = str(host.folder / "public.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(16)
        first = host.start(listener=listener, name="app-0").wait_ready()
        host.start(listener=listener, name="app-1").wait_ready()
        assert host.get(address=path)[0] == 200
        first.stop()
        assert Path(path).exists()
        assert host.get(address=path)[0] == 200


def test_a_stopped_instance_leaves_no_private_socket(host):
    instance = host.start().wait_ready()
    instance.stop()
    assert list(instance.run.iterdir()) == []


def test_the_private_socket_is_served_while_the_public_one_is_flooded(host):
    instance = host.start(worker_connections=50).wait_ready()
    for _ in range(120):  # more than the worker takes; the rest waits in the backlog
        host.connect().send("/busy/0.02")
    assert host.get(address=instance.private)[0] == 200


def test_a_run_dir_that_is_too_deep_for_a_socket_says_so(host):
    deep = host.folder / ("d" * 100)
    deep.mkdir()
    instance = host.start(environ={"PYGUN_RUN_DIR": str(deep)})
    assert instance.wait_exit() == 1
    assert "too long for a unix socket" in instance.log()


def test_usr2_does_not_start_a_second_master(host, eventually):
    instance = host.start().wait_ready()
    instance.signal(signal.SIGUSR2)
    eventually(lambda: "USR2 is not supported" in instance.log(), what=instance.log)
    assert host.get()[0] == 200


# ---- the socket keeper


@pytest.fixture
def keeper(host, eventually):
    """Start keeper.py with the host's listener as systemd would pass it: fd 3 and up, LISTEN_PID of the process."""
    processes = []

    def start(*grants, names="app", listeners=None):
        listeners = listeners or [host.listener]
        path = host.folder / "keeper.sock"
        log = host.folder / f"keeper{len(processes)}.log"

        # systemd's side of sd_listen_fds; the fds must not collide with their targets while they are moved
        code = (
            "import os, sys\n"
            "moved = [os.dup2(int(fd), 100 + i) for i, fd in enumerate(sys.argv[1].split(','))]\n"
            "for i, fd in enumerate(moved): os.dup2(fd, 3 + i)\n"
            "os.environ['LISTEN_PID'] = str(os.getpid())\n"
            "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])\n"
        )
        fds = [listener.fileno() for listener in listeners]
        with log.open("wb") as out:
            process = subprocess.Popen(  # noqa: S603
                [
                    sys.executable,
                    "-c",
                    code,
                    ",".join(map(str, fds)),
                    str(RUNTIME / "pygun_runtime" / "keeper.py"),
                    str(path),
                    *grants,
                ],
                env={**os.environ, "LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": names},
                pass_fds=fds,
                stdout=out,
                stderr=out,
            )
        processes.append(process)
        process.path, process.log = path, log
        eventually(lambda: process.poll() is not None or "keeping" in log.read_text(), what=log.read_text)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


ASK = """
import os, sys
from pygun_runtime.handover import ask_keeper, is_listening  # before the user changes, who may not read this Python
if os.getuid() == 0: os.setgid({gid}); os.setuid({uid})
print(is_listening(ask_keeper(sys.argv[1], sys.argv[2])))
"""


def ask(keeper, name, uid=65534, gid=65534):
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", ASK.format(uid=uid, gid=gid), str(keeper.path), name],
        env={**os.environ, "PYTHONPATH": str(RUNTIME), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="asks as other users")


def test_a_master_serves_the_socket_that_a_keeper_hands_over(host, keeper):
    server = keeper("app=0")
    instance = host.start(listener=False, environ={"PYGUN_SOCKET_KEEPER": str(server.path)}).wait_ready()
    assert int(host.get()[2]) in instance.workers()
    assert int(host.get(address=instance.private)[2]) in instance.workers()


def test_callers_wait_while_everything_but_the_kept_socket_is_gone(host, keeper):
    server = keeper("app=0")
    options = {"listener": False, "environ": {"PYGUN_SOCKET_KEEPER": str(server.path)}}
    first = host.start(**options).wait_ready()
    first.stop()
    waiting = host.connect()
    waiting.send("/")
    server.kill()
    server.wait()
    keeper("app=0")  # systemd starts it again
    host.start(**options).wait_ready()
    assert waiting.receive()[0] == 200


def test_a_master_whose_keeper_is_missing_says_so(host):
    instance = host.start(listener=False, environ={"PYGUN_SOCKET_KEEPER": "/nonexistent"})
    assert instance.wait_exit() == 1
    assert "the socket keeper at /nonexistent does not answer" in instance.log()


@needs_root
def test_the_keeper_gives_a_socket_to_its_user_and_group_only(keeper):
    server = keeper("app=65534:65533")
    server.path.chmod(0o666)
    server.path.parent.chmod(0o755)
    assert ask(server, "app", uid=65534, gid=1) == "True"
    assert ask(server, "app", uid=1, gid=65533) == "True"
    assert "uid 1 may not have any socket" in ask(server, "app", uid=1, gid=1)
    assert "no socket is called 'other'" in ask(server, "other")


@needs_root
def test_the_keeper_does_not_give_one_app_the_socket_of_another(host, keeper):
    with socket.create_server(("127.0.0.1", 0)) as other:
        server = keeper("app=65534", "other=1", names="app:other", listeners=[host.listener, other])
        server.path.parent.chmod(0o755)
        assert ask(server, "app", uid=65534) == "True"
        assert "uid 65534 may not have 'other'" in ask(server, "other", uid=65534)


def test_a_keeper_without_its_socket_does_not_start(keeper):
    server = keeper("app=0", names="something")
    assert server.wait() == 1
    assert "systemd passed no socket named app" in server.log.read_text()


def test_a_silent_caller_does_not_block_the_keeper(host, keeper):
    server = keeper("app=0")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(server.path))
        host.start(listener=False, environ={"PYGUN_SOCKET_KEEPER": str(server.path)}).wait_ready()


def test_a_keeper_socket_of_systemd_is_used_in_place_of_a_path(host, keeper):
    with socket.socket(socket.AF_UNIX) as control:
        path = host.folder / "keeper.sock"
        control.bind(str(path))
        control.listen(8)
        server = keeper("app=0", names="app:keeper", listeners=[host.listener, control])
        assert ask(server, "app", uid=0, gid=0) == "True"
