# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A digest is remembered only where the file cannot have changed since."""

import os
import time

import pytest

from ansible_collections.pygun.stack.plugins.plugin_utils import digests, pack


@pytest.fixture(name="model")
def model_fixture(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "LARGE", 1)
    (tmp_path / "source").mkdir()
    path = tmp_path / "source" / "model.bin"
    path.write_bytes(b"one")
    os.utime(path, (1, 1))
    return path


@pytest.fixture(name="run")
def run_fixture(model, tmp_path, monkeypatch):
    """One run: the digest, and whether the file was read for it."""

    def run(seconds_later=60):
        read = []
        now = time.time_ns() + int(seconds_later * 1e9)
        monkeypatch.setattr(digests, "digest_of", lambda path: read.append(path) or pack.digest_of(path))
        monkeypatch.setattr(digests.time, "time_ns", lambda: now)
        cache = digests.Digests(tmp_path / "cache", model.parent)
        found = cache.of(model)
        cache.save()
        assert found == pack.digest_of(model) or not read
        return found, bool(read)

    return run


def test_a_file_that_does_not_change_is_read_once(run):
    assert [read for _digest, read in (run(), run(), run())] == [True, False, False]


def test_a_file_that_has_just_changed_is_not_remembered(run):
    assert [read for _digest, read in (run(0), run(0), run(), run())] == [True, True, True, False]


@pytest.mark.parametrize("same_time", [True, False])
def test_a_change_of_the_same_size_is_seen(run, model, same_time):
    before, _read = run()
    model.write_bytes(b"two")
    if same_time:
        os.utime(model, (1, 1))  # the ctime tells
    assert run() == (pack.digest_of(model), True)
    assert before != pack.digest_of(model)


def test_another_file_in_its_place_is_seen(run, model, tmp_path):
    run()
    (tmp_path / "other").write_bytes(b"two")
    os.utime(tmp_path / "other", (1, 1))
    (tmp_path / "other").rename(model)
    assert run()[1]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"x": 1}', "[" * 10_000, '{"NAME": [1, 2, 3, 4, 5, "x"]}', "\xff"])
def test_a_damaged_cache_is_no_cache(run, tmp_path, model, text):
    run()
    [cache] = (tmp_path / "cache").iterdir()
    cache.write_text(text.replace("NAME", str(model)))
    assert [run()[1], run()[1]] == [True, False]


def test_a_cache_that_others_can_write_is_not_believed_and_ours_is_private(run, tmp_path):
    run()
    [cache] = (tmp_path / "cache").iterdir()
    assert cache.stat().st_mode & 0o777 == 0o600
    cache.chmod(0o666)
    assert run()[1]


def test_no_more_sources_are_remembered_than_a_limit(tmp_path, model, monkeypatch):
    monkeypatch.setattr(digests, "_SOURCES_AT_MOST", 2)
    monkeypatch.setattr(digests, "_SETTLED", -60_000_000_000)
    for number in range(4):
        cache = digests.Digests(tmp_path / "cache", tmp_path / str(number))
        cache.of(model)
        cache.save()
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_cache_that_cannot_be_written_is_done_without(model, tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "_SETTLED", -60_000_000_000)
    (tmp_path / "file").write_text("")
    cache = digests.Digests(tmp_path / "file" / "cache", model.parent)
    assert cache.of(model) == pack.digest_of(model)
    cache.save()
