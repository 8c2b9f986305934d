"""What the tests share that drive a real supervisord: its configuration, and a module in a process of its own."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

#: As the unit of the role runs it; the arguments follow.
LAUNCHER = Path(__file__).parents[2] / "roles" / "supervisor" / "files" / "supervisord.py"
START_SUPERVISORD = [sys.executable, "-I", str(LAUNCHER), str(Path(sys.executable).with_name("supervisord"))]

SUPERVISORD = """
[supervisord]
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}
nodaemon=true
[unix_http_server]
file={folder}/supervisor.sock
chmod=0700
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[include]
files={folder}/conf.d/*.conf
"""


def eventually(condition, seconds=60.0):
    give_up = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < give_up, f"{condition} did not come true within {seconds} s"
        time.sleep(0.05)
    return found


def listens(path):
    """Whether somebody accepts on this unix socket; supervisord gives it its name before it listens."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        return True
    return False


def start_supervisord(folder, prefix=()):
    """A supervisord with the configuration in *folder*, once it answers."""
    with (folder / "supervisord.out").open("a") as output:
        process = subprocess.Popen(
            [*prefix, *START_SUPERVISORD, "-c", str(folder / "supervisord.conf")],
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    eventually(lambda: listens(folder / "supervisor.sock"))
    return process


def end(process, seconds):
    """Have a process end, by SIGKILL after *seconds*."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def has_ended(pid):
    """Whether a process runs no more; whose child it is now may never ask how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def start_module(command, given, **variables):
    """Run *command*, a script around a module, with these arguments; *variables* say where it is to be disturbed."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYGUN_TEST")}
    environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    environ.update({key: str(value) for key, value in variables.items() if value is not None})
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
    )
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": given}))
    process.stdin.close()
    process.stdin = None
    return process


def outcome(process):
    """What the module returned; None if it was killed."""
    output, errors = process.communicate(timeout=300)
    if process.returncode == -signal.SIGKILL:
        return None
    assert output, errors
    return json.loads(output)
