"""What stands on a host and what is remembered about it."""

import errno
import json
import os
import stat
import subprocess

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.host import atomic
from ansible_collections.pygun.stack.plugins.module_utils.host.atomic import now, write_atomically
from ansible_collections.pygun.stack.plugins.module_utils.release.store import ReleaseStore

A, B, C, D = (letter * 16 for letter in "abcd")


@pytest.fixture
def store(tmp_path):
    return ReleaseStore(str(tmp_path))


def build(store, release, built_at="2020-01-01T00:00:00.000000Z"):
    folder = store.path(release)
    os.makedirs(folder)
    write_atomically(os.path.join(folder, "release.json"), json.dumps({"built_at": built_at}).encode(), 0o644)


def activate(store, release, rollback=False):
    replaced = store.current()
    store.set_current(release)
    store.record_activation(release, replaced, "tester", rollback=rollback)


def test_an_empty_host_has_nothing(store):
    assert (store.ids(), store.current(), store.previous(), store.failed(), store.history()) == ([], None, None, {}, [])


def test_a_half_built_release_does_not_count(store):
    os.makedirs(store.path(A))
    assert not store.is_complete(A)
    assert store.ids() == []
    assert store.half_built() == [A]


@pytest.mark.parametrize("name", ["../../etc", "A" * 16, "abc", "", "current"])
def test_only_an_id_names_a_release(store, name):
    with pytest.raises(ValueError, match="16 hexadecimal digits"):
        store.path(name)


def test_the_release_before_is_the_one_that_was_replaced(store):
    for release in (A, B, C):
        build(store, release)
        activate(store, release)
    assert store.previous() == B
    activate(store, B, rollback=True)
    assert store.previous() == A, "not C, which was just left"
    activate(store, A, rollback=True)
    assert store.previous() is None


def test_a_failed_or_missing_release_is_never_the_one_before(store):
    for release in (A, B):
        build(store, release)
        activate(store, release)
    store.mark_failed(A, "roll", "why")
    assert store.previous() is None
    assert store.forget_failure(A)
    assert store.previous() == A
    store.remove(A)
    assert store.previous() is None


def test_an_activation_forgives_a_failure(store):
    build(store, A)
    store.mark_failed(A, "roll", "why")
    activate(store, A)
    assert store.failed() == {}


def test_pruning_keeps_what_matters(store):
    for release in (A, B, C, D):
        build(store, release)
        activate(store, release)
    store.mark_failed(B, "roll", "why")
    assert store.prune(keep=1) == [A]
    assert sorted(store.ids()) == [B, C, D], "current, the one before, and the failed one for reproduction"
    assert store.prune(keep=1, protect=[C]) == []


def test_pruning_leaves_a_release_alone_that_is_about_to_be_activated(store):
    for release in (A, B):
        build(store, release)
        activate(store, release)
    build(store, C, built_at=now())
    build(store, D)
    assert store.prune(keep=2) == [D]


def test_pruning_spares_a_release_that_a_process_runs_from_and_says_which(store):
    for release in (A, B, C):
        build(store, release)
        activate(store, release)
    said = []
    worker = subprocess.Popen(["/bin/sleep", "60"], cwd=store.path(A))
    try:
        assert store.prune(keep=1, warn=said.append) == []
        assert len(said) == 1 and A in said[0] and f"pid {worker.pid} (sleep)" in said[0]
    finally:
        worker.kill()
        worker.wait()
    assert store.prune(keep=1, warn=said.append) == [A]
    assert len(said) == 1


def test_age_is_the_last_activation_not_the_time_of_a_file(store):
    for release in (A, B):
        build(store, release)
    activate(store, A)
    os.utime(os.path.join(store.path(B), "release.json"), (2**31, 2**31))
    assert store.ids() == [A, B]


def test_a_release_that_a_deploy_removes_meanwhile_is_listed_last(store, monkeypatch):
    build(store, A)
    os.makedirs(store.path(B))
    monkeypatch.setattr(store, "is_complete", lambda release: True)
    assert store.ids() == [A, B]


def test_a_damaged_state_is_an_empty_memory(store):
    with open(store.state_file, "w", encoding="utf-8") as stream:
        stream.write("{")
    assert store.previous() is None
    store.mark_failed(A, "roll", "why")
    assert list(store.failed()) == [A]


def test_a_file_is_never_more_readable_than_it_shall_be(tmp_path, monkeypatch):
    path = tmp_path / "secret"
    seen = []
    rename = os.rename

    def watched(source, target):
        seen.append(stat.S_IMODE(os.stat(source).st_mode))
        rename(source, target)

    monkeypatch.setattr(atomic.os, "rename", watched)
    os.umask(0o022)
    write_atomically(str(path), b"x", 0o640)
    assert seen == [0o640]
    assert [name.name for name in tmp_path.iterdir()] == ["secret"]


def test_a_write_that_fails_leaves_the_old_bytes_and_nothing_beside(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(atomic.os, "fsync", lambda _descriptor: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match="No space left"):
        write_atomically(str(path), b"new", 0o644)
    assert path.read_bytes() == b"old"
    assert [name.name for name in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_renamed_is_copied(tmp_path, monkeypatch):
    """A container's overlay refuses to rename a folder of its image (EXDEV)."""
    folder = tmp_path / "venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to("/usr/bin/python3")
    (folder / "bin" / "tool").write_text("old")
    (folder / "bin" / "tool").chmod(0o750)
    os.utime(folder / "bin" / "tool", (1, 1))
    of_the_image, rename = os.stat(folder).st_ino, os.rename

    def refusing(source, target):
        if os.lstat(source).st_ino == of_the_image:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(atomic.os, "rename", refusing)
    with pytest.raises(RuntimeError), atomic.kept_aside(str(folder)):
        (folder / "half").mkdir(parents=True)
        raise RuntimeError
    assert (folder / "bin" / "tool").read_text() == "old"
    status = (folder / "bin" / "tool").stat()
    assert (status.st_mode & 0o777, status.st_mtime) == (0o750, 1)
    assert os.readlink(folder / "bin" / "python") == "/usr/bin/python3"
    with atomic.kept_aside(str(folder)):
        folder.mkdir()
    assert sorted(os.listdir(tmp_path)) == ["venv"]
    assert os.listdir(folder) == []
