"""What keeps a public socket from being opened, read from real sockets and files."""

import os
import socket
import subprocess
import sys
import time

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.host import inspection
from ansible_collections.pygun.stack.plugins.module_utils.instance.obstacle import obstacle
from ansible_collections.pygun.stack.plugins.module_utils.supervisor.rpc import Process


def program(pid):
    return Process("shop", "shop-1", "RUNNING", pid, "", 0, "")


def test_whoever_listens_on_a_port_is_named_with_the_program_that_it_belongs_to():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        told = obstacle(bind)
        assert told.startswith(f"pid {os.getpid()} (python")
        assert told.endswith(f"listens on {bind}")
        assert "of supervisord's program shop:shop-1" in obstacle(bind, [program(os.getppid())])
        assert obstacle(f"0.0.0.0:{taken.getsockname()[1]}") == told
        assert obstacle(f"192.0.2.1:{taken.getsockname()[1]}") == ""
    assert obstacle(bind) == ""


def test_an_outgoing_connection_from_the_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        bind = f"127.0.0.1:{client.getsockname()[1]}"
        assert f"pid {os.getpid()} (python" in obstacle(bind)
        assert obstacle(bind).endswith(f"has a connection from {bind}")


def test_what_is_left_of_the_connections_of_a_former_server_is_in_nobodys_way():
    with socket.create_server(("127.0.0.1", 0)) as server:
        bind = f"127.0.0.1:{server.getsockname()[1]}"
        with socket.create_connection(server.getsockname()) as client:
            server.accept()[0].close()
            client.recv(1)
    assert inspection.connections_from(int(bind.rpartition(":")[2])), "the kernel still has it"
    assert obstacle(bind) == ""


def test_what_a_process_calls_itself_stays_one_line_of_plain_letters():
    hostile = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    )
    with subprocess.Popen(
        ["/evil\n\x1b[31m\u202e" + "x" * 500, "-c", hostile, "--password=hunter2"],
        executable=sys.executable,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        told = obstacle(f"127.0.0.1:{process.stdout.readline().strip()}")
        process.communicate("\n")
    assert f"pid {process.pid} (" in told
    assert told.isascii()
    assert told.isprintable()
    assert len(told) < 200
    assert "hunter2" not in told


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda path: path.symlink_to("/nowhere\n\x1b[2J"), "is a link to /nowhere\\n\\x1b[2J, which is not there"),
        (lambda path: path.symlink_to("/etc/passwd"), "is a link to /etc/passwd"),
        (lambda path: path.mkdir(), "is a directory (root:root 0755)"),
        (lambda path: path.write_text(""), "is a file (root:root 0644)"),
    ],
)
def test_what_lies_at_the_path_of_a_unix_socket_is_named(tmp_path, make, words):
    path = tmp_path / "app.sock"
    assert obstacle(f"unix:{path}") == ""
    make(path)
    assert obstacle(f"unix:{path}").startswith(f"{path} {words.partition(' (')[0]}")
    assert obstacle(f"unix:{path}/app.sock").startswith("there is no directory ") or path.is_dir()


def test_whoever_listens_on_a_unix_socket_is_named(tmp_path):
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(path))
        assert obstacle(f"unix:{path}") == ""
        taken.listen()
        assert obstacle(f"unix:{path}").endswith(f"listens on {path}")
        assert f"pid {os.getpid()} (" in obstacle(f"unix:{path}")


EXCHANGES = """
import os, sys
while True:
    os.symlink("/nowhere", sys.argv[1])
    os.unlink(sys.argv[1])
    os.close(os.open(sys.argv[1], os.O_CREAT))
    os.unlink(sys.argv[1])
"""


def test_what_an_app_exchanges_meanwhile_ends_no_look(tmp_path):
    """Its user can write where the socket is."""
    path, seen = tmp_path / "app.sock", set()
    wanted = {"", f"{path} is a link to /nowhere", f"{path} is a file"}
    with subprocess.Popen([sys.executable, "-S", "-c", EXCHANGES, str(path)]) as app:
        try:
            give_up, looks = time.monotonic() + 20, 0
            while (looks < 5000 or seen != wanted) and time.monotonic() < give_up:
                seen.add(obstacle(f"unix:{path}").partition(" (")[0].partition(",")[0])
                looks += path.exists()
        finally:
            app.kill()
    assert seen == wanted
