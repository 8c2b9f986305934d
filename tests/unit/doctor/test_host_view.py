"""What the doctor reads from the kernel's tables, compared with what this test has made itself."""

import fcntl
import os
import socket
import sys

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.doctor.logs import blocking_frame
from ansible_collections.pygun.stack.plugins.module_utils.doctor.observe_app import _deploying
from ansible_collections.pygun.stack.plugins.module_utils.host import inspection
from ansible_collections.pygun.stack.plugins.module_utils.instance.discovery import App
from ansible_collections.pygun.stack.plugins.module_utils.instance.public_socket import listens


@pytest.mark.parametrize("family, address", [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_who_listens_on_a_port_is_found(family, address):
    with socket.socket(family) as listening:
        try:
            listening.bind((address, 0))
        except OSError:
            pytest.skip(f"this machine has no {address}")
        port = listening.getsockname()[1]
        assert inspection.listeners(port) == []
        listening.listen()
        (found,) = inspection.listeners(port)
    assert (found.address, found.pids, found.user) == (address, (os.getpid(),), inspection.user_name(os.geteuid()))


def test_this_process_is_among_the_processes_with_its_parent_and_command():
    found = inspection.processes()[os.getpid()]
    assert found.parent == os.getppid()
    assert list(found.command) == sys.orig_argv
    assert 0 < inspection.uptime_of(os.getpid()) < 24 * 3600


@pytest.mark.parametrize(
    "one, other, collides",
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "::", True),
        ("10.0.0.1", "127.0.0.1", False),
    ],
)
def test_a_wildcard_collides_with_every_address(one, other, collides):
    assert inspection.collide(one, other) is collides


def test_the_directory_that_stops_a_user_is_named(tmp_path):
    for folder in (tmp_path, *tmp_path.parents):
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    assert inspection.refusal("nobody", str(inner), os.R_OK) == ""
    (tmp_path / "outer").chmod(0o700)
    assert inspection.refusal("nobody", str(inner), os.R_OK) == str(tmp_path / "outer")
    assert inspection.refusal("root", str(inner), os.R_OK) == ""
    (tmp_path / "outer").chmod(0o755)
    assert inspection.refusal("nobody", str(inner), os.W_OK) == str(inner)


def test_who_holds_a_lock_is_read_without_trying_the_lock(tmp_path):
    path = tmp_path / "lock"
    path.write_text("")
    assert inspection.lock_holders(str(path)) == []
    with path.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert inspection.lock_holders(str(path)) in (
            [os.getpid()],
            [],
        )  # some file systems number files differently there


def test_the_line_of_the_app_that_blocked_a_worker_is_found_in_both_kinds_of_stack():
    told = """Worker blocked, it is at:
  File "/srv/x/releases/0/venv/lib/gevent/x.py", line 1, in run
  File "/srv/x/releases/0/src/views.py", line 7, in predict
  File "/usr/lib/python3.11/socket.py", line 9, in recv
"""
    dumped = """Timeout (0:00:30)!
Thread 0x0001 (most recent call first):
  File "/usr/lib/python3.11/hashlib.py", line 9 in recv
  File "/srv/x/releases/0/src/views.py", line 8 in predict
  File "/srv/x/releases/0/src/wsgi.py", line 1 in app
"""
    assert blocking_frame(told, "/srv/x") == "/srv/x/releases/0/src/views.py:7 in predict"
    assert blocking_frame(told + dumped, "/srv/x") == "/srv/x/releases/0/src/views.py:8 in predict"
    assert blocking_frame("nothing of the kind", "/srv/x") == ""


def test_no_name_of_a_socket_passes_for_another_socket():
    """The kernel's table shows a name with its line breaks; whoever is on the host can bind a socket to any."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(b"\0\nx x x none x x x /run/app/app.sock")
        listener.listen()
        assert "\nx x x none x x x /run/app/app.sock" in inspection.read_text("/proc/net/unix")
        assert inspection.unix_listeners("/run/app/app.sock") == []
        assert not listens("unix:/run/app/app.sock")


def test_the_files_of_a_process_are_looked_at_for_a_limited_time(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert inspection.listeners(port)[0].pids == (os.getpid(),)
        monkeypatch.setattr(inspection, "_LOOKING", -1.0)
        assert inspection.listeners(port)[0].pids == ()


def test_the_pid_of_a_run_that_was_killed_is_no_run_when_a_user_has_it(tmp_path):
    app = App("shop", str(tmp_path), "", "", "shop", "", 1, "", False)
    (tmp_path / "activation.lock").write_text('{"pid": 7, "since": "now", "by": "ann"}')
    for user, text in (("root", "pid 7 since now, by ann"), ("shop", "")):
        assert _deploying(app, {7: inspection.HostProcess(7, 1, user, (), "")}) == text
