"""A process that root starts as an app's user: what it may, and what the app may do to it. With real users of no name."""

import ctypes
import os
import pwd
import shutil
import subprocess
import tempfile
import threading

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.host import adoption, app_process, build_account
from ansible_collections.pygun.stack.plugins.module_utils.host.keyring import _KEYCTL
from ansible_collections.pygun.stack.plugins.module_utils.programs import requirements

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

PYTHON = "/usr/bin/python3"
USER = 54000 + os.getpid() % 3000
APP = pwd.struct_passwd((f"app{USER}", "x", USER, USER, "", "/", "/bin/sh"))
_READ_KEY, _UNLINK_KEY, _SESSION = 11, 9, -3


def said_by(code, *words):
    with tempfile.TemporaryFile() as output:
        process = app_process.start([PYTHON, "-IS", "-c", code, *words], APP, {}, stdout=output)
        assert process.wait(10) == 0
        return app_process.tail(output).split()


def test_it_is_the_user_and_stays_it():
    lines = said_by("print(open('/proc/self/status').read())")
    fields = {line: lines[number + 1 :] for number, line in enumerate(lines) if line.endswith(":")}
    assert fields["Uid:"][:4] == fields["Gid:"][:4] == [str(USER)] * 4
    assert fields["Groups:"][0] == str(USER)
    assert fields["NoNewPrivs:"][0] == "1"
    assert {fields[f"Cap{kind}:"][0] for kind in ("Inh", "Prm", "Eff", "Amb")} == {"0" * 16}


def test_it_runs_nothing_that_is_closed_to_the_user(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o700)
    program = shutil.copy("/bin/true", tmp_path / "closed" / "true")
    process = app_process.start([program], APP, {}, stderr=subprocess.PIPE)
    assert "Permission denied" in process.communicate(timeout=10)[1].decode()
    assert process.returncode != 0


def _started():
    process = app_process.start(["/bin/true"], APP, {}, stdout=subprocess.DEVNULL)
    app_process.kill_group(process)


@pytest.mark.full  # its attackers take both processors from the tests beside it
@pytest.mark.parametrize(
    "work", [_started, lambda: requirements._may(APP, "/bin/true")], ids=["a program", "a look at a program's file"]
)
def test_no_app_stops_what_root_does_as_its_user(work):
    """Popen waits for the program of its child without a time-out: a child that is the app's by then could be stopped."""
    code = f"""
import os, signal
os.setgroups([]); os.setgid({USER}); os.setuid({USER})
print(flush=True)
while True:
    try:
        os.kill(-1, signal.SIGSTOP)
    except ProcessLookupError:
        pass
"""
    attackers = [subprocess.Popen([PYTHON, "-ISc", code], stdout=subprocess.PIPE) for _ in range(3)]
    done = []

    def work_often():
        for _ in range(100):
            work()
            done.append(True)

    try:
        attackers[0].stdout.readline()
        working = threading.Thread(target=work_often, daemon=True)
        working.start()
        while working.is_alive():
            before = len(done)
            working.join(30)
            assert len(done) > before or not working.is_alive(), "one was stopped"
    finally:
        for one in attackers:
            one.kill()
            one.wait()


@pytest.mark.parametrize("mode, may", [(0o755, True), (0o700, False)])
def test_whether_a_user_may_run_a_program_is_tried(tmp_path, mode, may):
    for place in (tmp_path, *list(tmp_path.parents)[:-2]):
        place.chmod(0o755)
    program = shutil.copy("/bin/true", tmp_path / "true")
    os.chmod(program, mode)
    assert requirements._may(APP, program) is may


@pytest.fixture
def key():
    """One of the session that this process is in."""
    number = _KEYCTL[os.uname().machine]
    libc = ctypes.CDLL(None)
    add = {"x86_64": 248}.get(os.uname().machine, 217)
    made = libc.syscall(add, b"user", b"pygun-test", b"secret", 6, _SESSION)
    if made < 0:
        pytest.skip("no keyrings here")
    yield number, made
    libc.syscall(number, _UNLINK_KEY, made, _SESSION)


READ = f"""
import ctypes, sys
number, key = map(int, sys.argv[1:])
content = ctypes.create_string_buffer(10)
print(ctypes.CDLL(None).syscall(number, {_READ_KEY}, key, content, 10))
"""


def test_it_does_not_read_the_keys_of_roots_session(key):
    words = list(map(str, key))
    own = subprocess.run([PYTHON, "-IS", "-c", READ, *words], capture_output=True, text=True, check=True)
    assert own.stdout == "6\n"
    assert said_by(READ, *words) == ["-1"]
    account = build_account.Account("builder", USER, USER)
    assert build_account.run([PYTHON, "-IS", "-c", READ, *words], account, {}, 10).stdout == "-1\n"


def test_output_that_grows_while_it_is_read_is_cut_off():
    """A daemon can still write to it, or make it a hole of any size."""

    class Growing:
        def __init__(self, stream):
            self.stream = stream

        def seek(self, *words):
            found = self.stream.seek(*words)
            self.stream.truncate(8 << 30)
            return found

        def read(self, size=-1):
            assert 0 <= size <= 1 << 20
            return self.stream.read(size)

    with tempfile.TemporaryFile() as stream:
        assert len(app_process.tail(Growing(stream))) <= 256 * 1024
    assert build_account.tail is app_process.tail


#: A daemon that traces its parent, and asks for no signal of it: the kernel hands a process that ends to who traces it first.
TRACED = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(0x59616d61, ctypes.c_ulong(-1), 0, 0, 0)  # whoever wants may
traced = os.getpid()
reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    libc.ptrace.restype = ctypes.c_long
    came = libc.ptrace(0x4206, traced, None, None)
    os.write(writing, b"no" if came else b"ok")
    time.sleep(300)
print(os.read(reading, 2).decode(), flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize("end", ["its group", "its daemons", "a build"])
def test_who_traces_a_process_does_not_keep_root_from_ending_it(end):
    def one_that_is_traced():
        process = app_process.start([PYTHON, "-ISc", TRACED], APP, {}, stdout=subprocess.PIPE)
        if process.stdout.readline() != b"ok\n":
            pytest.skip("no process may trace another one here")
        return process

    def ended():
        if end == "its group":
            app_process.kill_group(processes[0])
        elif end == "its daemons":
            with adoption.daemons_ended():
                processes.append(one_that_is_traced())
        else:
            account = build_account.Account("builder", USER, USER)
            with pytest.raises(subprocess.TimeoutExpired):
                build_account.run([PYTHON, "-ISc", TRACED], account, {}, 2)
        done.append(True)

    done, processes = [], [one_that_is_traced()]
    try:
        ending = threading.Thread(target=ended, daemon=True)
        ending.start()
        ending.join(20)
        assert done
    finally:
        build_account.end_processes(build_account.Account("builder", USER, USER), everywhere=True)
