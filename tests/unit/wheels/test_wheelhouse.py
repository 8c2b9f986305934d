# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Wheels go from the control node to a host, however large they are."""

import os
import shutil
from types import SimpleNamespace

import pytest

from ansible_collections.pygun.stack.plugins.action import wheelhouse as action
from ansible_collections.pygun.stack.plugins.modules import wheelhouse
from ansible_collections.pygun.stack.plugins.plugin_utils import pack

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


def test_an_archive_that_is_cut_is_refused_in_words(tmp_path, archive):
    path, files = archive
    shutil.copyfile(path, tmp_path / "host" / "wheels.tar.gz")
    with pytest.raises(wheelhouse.tarfile.TarError, match="not whole|unexpected end"):
        wheelhouse.unpack(str(tmp_path / "host" / "wheels.tar.gz"), str(tmp_path), files)
