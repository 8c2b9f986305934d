"""Whatever stands in a folder that an app, or a build, can write: what root makes of it ends, in time, and is no traceback.

`tests/unit/doctor/test_foreign.py` has the records, the logs and the answers of an app; here are whole folders.
"""

import contextlib
import os
import resource
import signal
import socket
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ansible_collections.pygun.stack.plugins.module_utils.diagnosis import log_tail
from ansible_collections.pygun.stack.plugins.module_utils.host import atomic, build_account, foreign, sizes
from ansible_collections.pygun.stack.plugins.module_utils.host.build_account import Account, InstallError
from ansible_collections.pygun.stack.plugins.module_utils.instance import obstacle
from ansible_collections.pygun.stack.plugins.module_utils.instance.run_directory import RunDirectory
from ansible_collections.pygun.stack.plugins.module_utils.log_reader import Log, Query
from ansible_collections.pygun.stack.plugins.module_utils.release import differences, shared_paths
from ansible_collections.pygun.stack.plugins.module_utils.release.shared_paths import SharedPathError
from ansible_collections.pygun.stack.plugins.module_utils.uninstall import account as uninstall_account

NAMES = ("app-0.log", "app-0.json", "app-0.sock", "uploads", "cache", "wsgi.py", "x\n\x1b[2J", "\udce4")
AT_MOST = 10  # seconds


def folder(path):
    path.mkdir()


def sparse(path):
    with path.open("wb") as stream:
        stream.truncate(8 << 40)


def bound(path):
    here = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)  # a path may be too long for a socket
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


def deep(path):
    """Deeper than Python's own walk of 3.11 goes."""
    here = os.open(".", os.O_RDONLY)
    try:
        path.mkdir()
        os.chdir(path)
        for _ in range(1200):
            os.mkdir("x")
            os.chdir("x")
    finally:
        os.fchdir(here)
        os.close(here)


def text(content):
    return lambda path: path.write_bytes(content)


KINDS = {
    "folder": folder, "pipe": os.mkfifo, "socket": bound, "8 TB of nothing": sparse, "1200 folders in folders": deep,
    "link to the folder above": lambda path: path.symlink_to(".."), "link to itself": lambda path: path.symlink_to(path.name),
    "link to a device": lambda path: path.symlink_to("/dev/zero"), "link to a secret": lambda path: path.symlink_to("/etc/shadow"),
}  # fmt: skip
things = st.one_of(st.sampled_from(list(KINDS.values())), st.binary(max_size=200).map(text))
trees = st.dictionaries(st.sampled_from(NAMES), things, max_size=4)


def _shared(path):
    """As a release that shares two paths finds the folder."""
    release = path.parent / "releases" / "0123456789abcdef"
    (release / "shared" / "uploads").mkdir(parents=True, exist_ok=True)
    (release / "release.json").write_text('{"shared_paths": ["uploads/", "cache/deep/", "wsgi.py"]}')
    shared_paths.provide(str(release))


def _taken_over(path):
    """Without what ends the processes of the account: here that is this user."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        build_account._TakeOver(Account("nobody", os.geteuid(), os.getegid()), ()).folder(descriptor, str(path))
    except PermissionError:
        if os.geteuid() == 0:
            raise
    finally:
        os.close(descriptor)


def _left_by_a_user(path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uninstall_account, "PLACES", (str(path),))
        uninstall_account.traces(os.geteuid() + 1)


#: What root makes of such a folder, and the errors with which it may say what is wrong.
READERS = {
    "the size of a cache": lambda path: sizes.size_of(str(path)),
    "the files of a diff": lambda path: [differences._read(str(path), name) for name in NAMES],
    "the folders of shared paths": _shared,
    "what is in the way of a socket": lambda path: [obstacle._at_path(str(path / name), []) for name in NAMES],
    "the end of a log": lambda path: log_tail.plain_lines(log_tail.last_text(str(path / NAMES[0]))),
    "the lines of a log": lambda path: Log(str(path / NAMES[0]), "app", "app-0").last(Query()),
    "a record": lambda path: RunDirectory(str(path)).wrong("app-0"),
    "what a user has left": _left_by_a_user,
    "names": lambda path: foreign.names(str(path), ""),
    "what a build has left": _taken_over,
    "removal": lambda path: atomic.remove_tree(str(path)),
}
ERRORS = (SharedPathError, InstallError)


@contextlib.contextmanager
def within(seconds):
    """Interrupt what takes longer, and give it the depth of calls that a module has: Hypothesis takes more."""

    def late(*_args):
        raise AssertionError(f"longer than {seconds} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    depth = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    try:
        yield
    finally:
        sys.setrecursionlimit(depth)
        signal.alarm(0)


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@settings(
    max_examples=6 if os.environ.get("PYGUN_FULL") else 2,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(tree=trees)
@example(tree=dict.fromkeys(NAMES, os.mkfifo))
@example(tree=dict.fromkeys(NAMES[3:5], deep))
@example(tree=dict.fromkeys(NAMES, sparse))
@example(tree=dict.fromkeys(NAMES, KINDS["link to a device"]))
@example(tree=dict.fromkeys(NAMES, folder))
def test_any_tree_is_answered(reader, tree):
    top = Path(tempfile.mkdtemp(prefix="pygun-tree-", dir="/tmp"))
    path = top / "shared"
    path.mkdir()
    for name, make in tree.items():
        make(path / name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with within(AT_MOST), contextlib.suppress(*ERRORS):
            reader(path)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
    finally:
        atomic.remove_tree(str(top))
