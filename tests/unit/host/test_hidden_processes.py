"""Processes that hide from those who look for them: real ones, of a user that has no other."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.host import build_account, inspection
from ansible_collections.pygun.stack.plugins.module_utils.host.build_account import Account
from ansible_collections.pygun.stack.plugins.module_utils.host.text import stat_of
from ansible_collections.pygun.stack.plugins.module_utils.instance import leftovers

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

FILES = Path(__file__).parents[3] / "roles" / "supervisor" / "files"
MB = 1024 * 1024
USER = 57000 + os.getpid() % 3000
ACCOUNT = Account("hidden", USER, USER)
#: Its first thread ends: the kernel calls it a zombie then. Another thread goes on, with 64 MB.
WITHOUT_LEADER = """
import ctypes, os, threading, time
def go_on():
    kept = bytearray(os.urandom(1 << 20)) * 64
    print(flush=True)
    time.sleep(300)
threading.Thread(target=go_on).start()
ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)
"""
#: A name that is no text. The kernel cuts it off after 15 bytes.
NAMELESS = """
import ctypes, os, time
ctypes.CDLL(None).prctl(15, b"\\xff) Z 1\\n")
kept = bytearray(os.urandom(1 << 20)) * 64
print(flush=True)
time.sleep(300)
"""
LOOK = """
import sys
from ansible_collections.pygun.stack.plugins.module_utils.host import build_account
print(*build_account._processes(build_account.Account("hidden", int(sys.argv[1]), 0), everywhere=True))
"""


@contextlib.contextmanager
def hidden(code):
    command = ["/usr/bin/python3", "-IS", "-c", code]
    process = subprocess.Popen(command, user=USER, group=USER, extra_groups=[], stdout=subprocess.PIPE, cwd="/")
    try:
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()


def tool(name):
    spec = importlib.util.spec_from_file_location(name, FILES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def without_leader():
    with hidden(WITHOUT_LEADER) as process:
        give_up = time.monotonic() + 10
        while Path(f"/proc/{process.pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < give_up
            time.sleep(0.01)
        yield process.pid


@pytest.mark.parametrize(
    "sees",
    [
        lambda pid: stat_of(pid),
        lambda pid: leftovers._entry(pid),
        lambda pid: inspection.processes().get(pid),
        lambda pid: pid in build_account._processes(ACCOUNT, everywhere=True),
        lambda pid: tool("end_orphans").Process(pid),
    ],
    ids=["kernel", "leftovers", "tables", "accounts", "orphans"],
)
def test_a_process_without_its_first_thread_is_one(without_leader, sees):
    assert sees(without_leader)


@pytest.mark.parametrize("code", [WITHOUT_LEADER, NAMELESS], ids=["without its first thread", "nameless"])
def test_the_memory_guard_counts_it(code):
    with hidden(code) as process:
        time.sleep(0.1)
        guard = tool("memory_guard")
        assert guard.memory(process.pid) > 64 * MB
        assert guard.memory(os.getpid()) > 64 * MB  # of a parent, as a worker of a master
        assert inspection.memory_used(process.pid) > 64 * MB


def test_it_ends_with_what_an_app_leaves_behind():
    with hidden(WITHOUT_LEADER) as process:
        leftovers._entry(process.pid).signal(signal.SIGKILL)
        assert process.wait(5) == -signal.SIGKILL
    assert stat_of(process.pid) == []


def test_a_process_that_has_ended_is_none():
    process = subprocess.Popen(["/bin/true"])
    while Path(f"/proc/{process.pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    assert stat_of(process.pid) == []
    assert process.pid not in inspection.processes()
    process.wait()


def test_a_user_hides_nothing_in_a_namespace_of_its_own():
    """A container that root has started may run programs under the same number, and these are spared. This one the user has made."""
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "sh", "-c", "echo; sleep 300"]
    process = subprocess.Popen(
        command, user=USER, group=USER, extra_groups=[], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    if not process.stdout.readline():
        pytest.skip(f"no namespaces of users here: {process.stderr.read()}")
    inside = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    # A stranger to us, as a daemon that an earlier run has left: nothing that descends from this process.
    path = os.pathsep.join(sys.path)
    found = subprocess.run(
        [sys.executable, "-c", LOOK, str(USER)], capture_output=True, text=True, check=True, env={"PYTHONPATH": path}
    )
    assert {process.pid, *inside} <= set(map(int, found.stdout.split()))
    build_account.end_processes(ACCOUNT, everywhere=True)
    process.wait(5)
    assert not any(stat_of(pid) for pid in (process.pid, *inside))


def test_a_long_command_is_cut_off():
    """Forks share its memory; whoever reads them all does not."""
    process = subprocess.Popen(["/bin/sleep", "300", *["0"] * 50_000])
    try:
        found = inspection.processes()[process.pid]
        assert len(found.command) <= 64
        assert sum(map(len, found.command)) <= 4096
    finally:
        process.kill()
        process.wait()


def test_a_later_process_of_the_same_pid_is_spared():
    with hidden("print(flush=True); import time; time.sleep(300)") as process:
        build_account._kill(process.pid, Account("another", USER + 1, USER + 1))
        time.sleep(0.1)
        assert stat_of(process.pid)
        build_account._kill(process.pid, ACCOUNT)
        process.wait(5)
