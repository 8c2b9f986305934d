"""Which folders real processes run from."""

import contextlib
import os
import subprocess
import sys
import time

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.host.in_use import in_use

SLEEP = ["/bin/sleep", "60"]


@contextlib.contextmanager
def running(command, **options):
    process = subprocess.Popen(command, **options)
    try:
        give_up = time.monotonic() + 10
        while (
            os.path.basename(os.readlink(f"/proc/{process.pid}/exe")).startswith("python")
            and command[0] != sys.executable
        ):
            assert time.monotonic() < give_up
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def folders(tmp_path):
    found = [tmp_path / name for name in ("a" * 16, "b" * 16, "a" * 16 + "a", "a" * 16 + ".before")]
    for folder in found:
        folder.mkdir()
    return [str(folder) for folder in found]


def a_script_of(folder):
    script = os.path.join(folder, "work.py")
    with open(script, "w", encoding="utf-8") as stream:
        stream.write("import time\ntime.sleep(60)\n")
    return [sys.executable, script]


@pytest.mark.parametrize(
    "start",
    [
        lambda folder: (SLEEP, {"cwd": folder}),
        lambda folder: (a_script_of(folder), {}),
        lambda folder: (SLEEP, {"env": {"PYGUN_RELEASE": folder}}),
        lambda folder: (SLEEP, {"env": {"PATH": f"{folder}/venv/bin:/bin"}}),
    ],
    ids=["working directory", "script", "environment", "search path"],
)
def test_a_folder_is_in_use_while_a_process_runs_from_it(folders, start):
    command, options = start(folders[0])
    with running(command, **options) as process:
        used = in_use(folders)
        assert list(used) == [folders[0]]
        assert used[folders[0]].startswith(f"pid {process.pid} (")
    assert in_use(folders) == {}


@pytest.mark.parametrize("number", [2, 3])
def test_a_folder_whose_name_begins_like_the_used_one_is_not_in_use(folders, number):
    with running(SLEEP, cwd=folders[number]):
        assert list(in_use(folders)) == [folders[number]]


def test_a_link_to_a_folder_is_the_folder(folders, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "link").symlink_to(tmp_path)
    named = str(tmp_path / "other" / "link" / ("a" * 16))
    with running(SLEEP, cwd=folders[0]):
        assert list(in_use([named])) == [named]


def test_a_library_that_is_mapped_counts(folders):
    library = os.path.join(folders[1], "library.so")
    with open(library, "wb") as stream:
        stream.write(bytes(4096))
    code = "import mmap, sys, time\nm = mmap.mmap(0, 4096, access=mmap.ACCESS_READ)\nprint(flush=True)\ntime.sleep(60)"
    with (
        open(library, "rb") as stream,
        running([sys.executable, "-c", code], stdin=stream, stdout=subprocess.PIPE) as process,
    ):
        process.stdout.readline()
        assert list(in_use(folders)) == [folders[1]]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("group, used", [(57999, False), (57998, True)], ids=["another app", "a member of the group"])
def test_only_who_may_enter_a_folder_has_it_in_use(folders, group, used):
    os.chown(folders[0], 0, 57998)
    os.chmod(folders[0], 0o750)
    with running(SLEEP, env={"PYGUN_RELEASE": folders[0]}, user=57999, group=group, extra_groups=[]):
        assert (list(in_use(folders)) == [folders[0]]) is used
