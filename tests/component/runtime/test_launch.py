"""Which release an instance starts, and that a second process can only hold the socket."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUNTIME = Path(__file__).parents[3] / "roles" / "flask_app" / "files"
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="a candidate is root's word")


def candidates(host):
    """Where an activation puts the links that name candidates: beside the run directory."""
    folder = host.folder / "pygun" / "run"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def current(host):
    """The `current` link of an app with one release."""
    link = host.folder / "current"
    link.symlink_to(host.complete(host.release()))
    return link


def test_the_release_of_the_launcher_is_started_by_its_real_path(host, current):
    instance = host.launch(current).wait_ready()
    assert instance.record()["release_path"] == str(current.resolve())
    assert instance.record()["gated"] is False
    command = Path(f"/proc/{instance.pid}/cmdline").read_text(errors="replace")
    assert str(current.resolve() / "pygun.py") in command
    assert str(current) + "/" not in command


@needs_root
def test_a_candidate_is_started_behind_a_gate_and_only_for_its_instance(host, current):
    candidate = host.complete(host.release())
    candidates(host).joinpath("app-0.next").symlink_to(candidate)
    environ = {"PYGUN_INSTANCES": "2"}
    first = host.launch(current, name="app-0", environ=environ).wait_ready()
    second = host.launch(current, name="app-1", environ=environ).wait_ready()
    assert (first.record()["release"], first.record()["gated"]) == (candidate.name, True)
    assert (second.record()["release"], second.record()["gated"]) == (current.resolve().name, False)


@needs_root
def test_a_candidate_that_the_app_names_is_ignored(host, current):
    link = candidates(host) / "app-0.next"
    link.symlink_to(host.complete(host.release()))
    os.lchown(link, 65534, 65534)
    instance = host.launch(current).wait_ready()
    assert instance.record()["release"] == current.resolve().name


@needs_root
@pytest.mark.parametrize("place", ["the run directory", "a folder that others can write"])
def test_a_candidate_in_a_folder_of_the_app_is_ignored(host, current, place):
    folder = host.folder / "run" if place == "the run directory" else candidates(host)
    (folder / "app-0.next").symlink_to(host.complete(host.release()))
    folder.chmod(0o777)
    instance = host.launch(current).wait_ready()
    assert instance.record()["release"] == current.resolve().name


@needs_root
def test_a_candidate_that_is_gone_is_ignored(host, current):
    candidates(host).joinpath("app-0.next").symlink_to(host.folder / "gone")
    instance = host.launch(current, gate=True).wait_ready()
    assert (instance.record()["release"], instance.record()["gated"]) == (current.resolve().name, False)


def test_a_release_without_its_programs_is_reported(host, current):
    shutil.rmtree(current.resolve() / "venv")
    instance = host.launch(current)
    assert instance.wait_exit() == 1
    assert f"cannot start release {current.resolve()}" in instance.log()


def holds_the_socket(pid: int) -> bool:
    """Whether the process says so, where `ps` shows it."""
    return b": holds the public socket\0" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_the_last_process_holds_the_socket(host, current, eventually):
    environ = {"PYGUN_INSTANCES": "1"}
    holder = host.launch(current, name="app-1", environ=environ)
    eventually(lambda: holds_the_socket(holder.process.pid), what=holder.log)
    host.listener.close()  # as if supervisord had not kept its own
    with socket.create_connection(host.address) as waiting:
        waiting.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        holder.signal(signal.SIGHUP)
        time.sleep(0.2)
        assert holder.process.poll() is None
        assert holder.stop() < 1
        assert holder.process.returncode == -signal.SIGTERM
        with pytest.raises(ConnectionResetError):  # it was the last one who held the socket
            waiting.recv(100)


def test_what_is_printed_below_python_goes_where_stderr_goes(host, current, eventually):
    """supervisor's file for stdout is the log that the instance writes itself."""
    output, errors = host.folder / "stdout", host.folder / "stderr"
    with output.open("wb") as stdout, errors.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-I", str(current / "lib" / "pygun_runtime" / "launch.py")],
            stdin=host.listener,
            stdout=stdout,
            stderr=stderr,
            env={"SUPERVISOR_PROCESS_NAME": "app-1", "PYGUN_INSTANCES": "1"},
        )
    eventually(lambda: holds_the_socket(process.pid), what=errors.read_text)
    assert os.readlink(f"/proc/{process.pid}/fd/1") == str(errors)
    process.terminate()
    assert process.wait(5) == -signal.SIGTERM
    assert output.read_text() == ""


@pytest.mark.parametrize("name", [None, "app", "app-x"])
def test_without_an_instance_number_it_says_who_starts_it(host, current, name):
    instance = host.launch(current, environ={"SUPERVISOR_PROCESS_NAME": name})
    assert instance.wait_exit() == 1
    assert "this file is started by supervisor" in instance.log()


def is_gone(process):
    """Whether an entry of /proc is none any more, or a zombie."""
    try:
        return (process / "stat").read_text(errors="replace").split()[2] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("number", [0, 1], ids=["serving", "holding"])
def test_an_instance_ends_when_its_parent_is_killed(host, current, number, eventually):
    """The parent stands for supervisord: a shell that starts the launcher and waits."""
    launcher = current / "lib" / "pygun_runtime" / "launch.py"
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(RUNTIME),
        "SUPERVISOR_PROCESS_NAME": f"app-{number}",
        "PYGUN_INSTANCES": "1",
        "PYGUN_RUN_DIR": str(host.folder / "run"),
    }
    pid_file = host.folder / "pid"
    # A shell gives its background jobs /dev/null as fd 0, unless told otherwise.
    script = f"exec 2>&1 3<&0; {sys.executable} -I {launcher} <&3 3<&- & echo $! > {pid_file}; wait"
    with (host.folder / "log").open("wb") as log:
        parent = subprocess.Popen(["/bin/sh", "-c", script], stdin=host.listener, stdout=log, env=environ)  # noqa: S603
    text = (host.folder / "log").read_text
    eventually(lambda: pid_file.exists() and pid_file.read_text().strip(), what=text)
    pid = int(pid_file.read_text())
    eventually(lambda: holds_the_socket(pid) or list((host.folder / "run").glob("*.ready")), what=text)
    parent.kill()
    parent.wait()
    process = Path(f"/proc/{pid}")
    try:
        eventually(lambda: is_gone(process), 30, text)
    except AssertionError:
        os.kill(pid, signal.SIGKILL)
        raise
