# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Wheels go from the control node to a host, however large they are."""

import os
import shutil
import sys
from types import SimpleNamespace

import pytest

from ansible_collections.pygun.stack.plugins.action import wheelhouse as action
from ansible_collections.pygun.stack.plugins.modules import wheelhouse
from ansible_collections.pygun.stack.plugins.plugin_utils import pack
from tests.component.host.test_host import RUN
from tests.component.supervised import outcome, start_module

NAME = "numpy-2.0-py3-none-any.whl"
WHEEL = os.urandom(100_000)


class Sender(action.ActionModule):
    """The action, whose host is a folder."""

    def __init__(self, place):
        self._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=str(place), join_path=os.path.join))
        self._make_tmp_path = self._remove_tmp_path = self._fixup_perms2 = lambda *_arguments: None
        self._transfer_file = shutil.copyfile

    def _module(self, args, task_vars):
        wheelhouse.unpack(args["archive"], task_vars["dest"], args["files"])
        return {}


@pytest.fixture(name="archive")
def archive_fixture(tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "PART", 10_000)
    (tmp_path / NAME).write_bytes(WHEEL)
    (tmp_path / "host").mkdir()
    entry = pack.entry_from_file(NAME, tmp_path / NAME, tmp_path)
    return pack.Shared(tmp_path / "run").archive([entry]), pack.manifest([entry])


def test_wheels_arrive_in_as_many_parts_as_they_need(tmp_path, archive):
    path, files = archive
    Sender(tmp_path / "host")._send(path, "sending", {"files": files}, {"dest": str(tmp_path / "host")})
    assert (tmp_path / "host" / NAME).read_bytes() == WHEEL


def test_what_a_cut_archive_or_a_kill_has_left_is_not_taken_for_a_wheel_of_before(tmp_path, monkeypatch):
    """Each is written over, and the old one is wanted again."""
    monkeypatch.setattr(pack, "PART", 10_000)
    host, control = tmp_path / "host", tmp_path / "control"
    host.mkdir()
    control.mkdir()
    for name in ("a.whl", "b.whl"):
        (control / name).write_bytes(os.urandom(50_000))
    entries = [pack.entry_from_file(name, control / name, control) for name in ("a.whl", "b.whl")]
    archive = pack.Shared(tmp_path / "run").archive(entries)
    parts = pack.parts(archive)
    parts[-1].unlink()
    before = {"a.whl": "file:old", "b.whl": "file:old", "c.whl": "file:c"}
    for name in before:
        (host / name).touch()
    wheelhouse.record(str(host), before)
    with pytest.raises(wheelhouse.tarfile.TarError):
        wheelhouse.bring(str(archive), str(host), before, {**pack.manifest(entries), "c.whl": "file:c"})
    assert (host / "a.whl").read_bytes() == (control / "a.whl").read_bytes()
    assert wheelhouse.recorded(str(host)) == {"c.whl": "file:c"}
    assert sorted(path.name for path in host.iterdir()) == ["a.whl", "b.whl", "c.whl", "wheels.json"]


def test_wheels_that_no_record_has_are_removed_and_those_that_come_just_now_are_not(tmp_path):
    """Or a version that was taken back would stay, and be the newest."""
    for name in ("a-2.whl", f"b-1.whl.{2**22 + 1}.tmp", f"c-1.whl.{os.getpid()}.tmp", "wheels.json"):
        (tmp_path / name).write_text("{}")
    given = {"src": "/x", "path": str(tmp_path), "files": {}}
    answer = outcome(start_module([sys.executable, RUN, "wheelhouse"], given))
    assert answer["removed"] == ["a-2.whl", f"b-1.whl.{2**22 + 1}.tmp"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"c-1.whl.{os.getpid()}.tmp", "wheels.json"]


def test_an_archive_that_is_cut_is_refused_in_words(tmp_path, archive):
    path, files = archive
    shutil.copyfile(path, tmp_path / "host" / "wheels.tar.gz")
    with pytest.raises(wheelhouse.tarfile.TarError, match="not whole|unexpected end"):
        wheelhouse.unpack(str(tmp_path / "host" / "wheels.tar.gz"), str(tmp_path), files)
