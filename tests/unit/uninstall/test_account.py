# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An app's user ends with all of its processes, and stays as long as something of it is left."""

import os
import pwd
import subprocess

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.host import build_account
from ansible_collections.pygun.stack.plugins.module_utils.uninstall import account
from tests.component.supervised import eventually, has_ended

UID = 61_234  # of nobody
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="files and processes of another user")
#: A daemon: it has left its parent and its session, and heeds no signal that can be ignored.
DAEMON = """
import os, signal, time
if os.fork(): os._exit(0)
os.setsid()
for number in range(1, 32):
    if number not in (signal.SIGKILL, signal.SIGSTOP): signal.signal(number, signal.SIG_IGN)
print(os.getpid(), flush=True)
os.close(1)
time.sleep(600)
"""


@pytest.fixture
def user(monkeypatch, tmp_path):
    """A user without an account, in the eyes of the code, whose files may be in one folder."""
    entry = pwd.struct_passwd(("leaver", "x", UID, UID, "", "/srv/leaver/shared", "/usr/sbin/nologin"))
    monkeypatch.setattr(account.pwd, "getpwnam", lambda name: {"leaver": entry}[name])
    monkeypatch.setattr(account, "PLACES", (str(tmp_path), "/nonexistent"))
    monkeypatch.setattr(account, "ABOVE", ())
    return entry.pw_name


@needs_root
def test_a_daemon_that_left_its_parent_ends(user):
    command = ["/usr/bin/python3", "-c", DAEMON]
    started = subprocess.run(command, user=UID, group=UID, extra_groups=[], stdout=subprocess.PIPE, check=True, cwd="/")
    pid = int(started.stdout)
    assert not has_ended(pid)
    account.end_processes(user)
    eventually(lambda: has_ended(pid), 5)
    assert build_account._processes(build_account.Account(user, UID, UID), everywhere=True) == []


@needs_root
def test_a_user_with_a_file_that_is_left_stays_and_the_file_is_named(user, tmp_path):
    pairs = [("user", user), ("user", user)]
    assert account.parted(pairs) == ([("user", user)], [])
    (tmp_path / "of root").mkdir()
    left = tmp_path / "of root" / "evil\nname"
    left.symlink_to("/etc/passwd")
    os.lchown(left, UID, UID)
    gone, kept = account.parted(pairs)
    assert gone == []
    assert len(kept) == 1 and "of root/evil\\nname; remove that, then run this again" in kept[0]


@needs_root
def test_what_goes_with_supervisord_is_no_trace_if_that_goes(user, tmp_path):
    folder = tmp_path / "systemd-private-0a1b-supervisord.service-x" / "tmp"
    folder.mkdir(parents=True)
    os.chown(folder, UID, UID)
    assert account.traces(UID) == [str(folder)]
    assert account.traces(UID, with_supervisord=True) == []


def test_more_files_than_can_be_looked_through_are_a_trace(user, tmp_path, monkeypatch):
    monkeypatch.setattr(account, "_ENTRIES_AT_MOST", 3)
    for number in range(5):
        (tmp_path / str(number)).touch()
    assert account.traces(UID) == [f"what is among more than 3 files in {tmp_path}"]


@pytest.mark.parametrize("owner, creator", [(UID, 0), (0, UID)], ids=["owner", "creator, who has given it away"])
def test_shared_memory_is_a_trace(user, monkeypatch, owner, creator):
    text = f"key shmid perms size cpid lpid nattch uid gid cuid cgid\n0 1 600 5 1 1 0 {owner} 0 {creator} 0\n"
    monkeypatch.setattr(account, "read_text", lambda path: text if path.endswith("shm") else "")
    assert account.traces(UID) == ["shared memory or semaphores (shm of ipcs)"]


@needs_root
def test_every_folder_that_is_open_to_all_is_looked_through(user, tmp_path, monkeypatch):
    """Some packages bring one, such as those of screen and of PHP."""
    above = tmp_path / "var"
    closed, opened, deep = above / "lib" / "closed", above / "lib" / "sessions", above / "a" / "b" / "c" / "d"
    for folder in (closed, opened, deep):
        folder.mkdir(parents=True)
        (folder / "file").touch()
        os.chown(folder / "file", UID, UID)
    opened.chmod(0o1733)
    deep.chmod(0o1777)
    monkeypatch.setattr(account, "PLACES", ())
    monkeypatch.setattr(account, "ABOVE", (str(above),))
    assert account.traces(UID) == [str(opened / "file")]


def test_a_user_for_whom_logind_starts_processes_at_boot_stays(user, tmp_path, monkeypatch):
    monkeypatch.setattr(account, "LINGER", str(tmp_path))
    (tmp_path / str(UID)).touch()
    assert account.traces(UID) == [str(tmp_path / str(UID))]


def test_the_memory_of_a_process_that_crashed_is_a_trace(user, tmp_path, monkeypatch):
    """systemd-coredump lets the user with this number read it."""
    monkeypatch.setattr(account, "CORES", str(tmp_path))
    monkeypatch.setattr(account, "PLACES", ())
    boot = "0123456789abcdef" * 2
    others = [f"core.gunicorn.{UID + 1}.{boot}.{UID}.1796000000000000.zst", f"core.{UID}.zst"]
    for name in [f"core.py.{UID}.{boot}.77.1796000000000000.zst", *others]:
        (tmp_path / name).touch()
    found = account.traces(UID)
    assert f"{tmp_path}/core.py.{UID}.{boot}.77.1796000000000000.zst" in found
    assert not any(str(tmp_path / name) in found for name in others)
