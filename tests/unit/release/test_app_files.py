# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What files from outside of the source give to a release, on the control node."""

import hashlib
import shutil
from pathlib import Path

import pytest
from ansible.errors import AnsibleError

from ansible_collections.pygun.stack.plugins.action.release import ActionModule, _text_diffs
from ansible_collections.pygun.stack.plugins.plugin_utils import pack
from ansible_collections.pygun.stack.plugins.plugin_utils.app_files import entries, for_host

DIGEST = hashlib.sha256(b"model").hexdigest()


@pytest.fixture(name="data")
def data_fixture(tmp_path):
    """A model, and the cache of a hub, whose files are links."""
    (tmp_path / "m.bin").write_bytes(b"model")
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "1").write_bytes(b"model")
    (tmp_path / "snapshot" / "sub").mkdir(parents=True)
    (tmp_path / "snapshot" / "sub" / "m.bin").symlink_to(tmp_path / "blobs" / "1")
    (tmp_path / "snapshot" / "config.json").write_text("{}")
    return tmp_path


def given(*files, scratch, source=()):
    return {entry.path: entry.signature for entry in entries(list(files), Path, scratch, set(source))}


def test_a_file_has_the_same_place_in_the_id_whether_it_is_packed_or_fetched(data):
    packed = given({"path": "m/m.bin", "src": str(data / "m.bin"), "sha256": DIGEST.upper()}, scratch=data)
    fetched = given({"path": "m/m.bin", "url": "https://h/m", "sha256": DIGEST.upper()}, scratch=data)
    assert packed == fetched == {"src/m/m.bin": f"file:{DIGEST}"}


def test_a_directory_gives_its_files_and_what_links_in_it_lead_to(data):
    assert sorted(given({"path": "m", "src": str(data / "snapshot")}, scratch=data)) == [
        "src/m/config.json",
        "src/m/sub/m.bin",
    ]
    assert f"file:{DIGEST}" in given({"path": "m", "src": str(data / "snapshot")}, scratch=data).values()


def test_an_archive_on_the_control_node_gives_what_is_in_it(data):
    archive = shutil.make_archive(str(data / "packed"), "gztar", data / "blobs")
    assert given({"path": "m", "src": archive, "unarchive": True}, scratch=data) == {"src/m/1": f"file:{DIGEST}"}


def test_addresses_and_headers_travel_apart_from_what_may_be_shown():
    file = {"path": "m", "url": "https://h/m?key=secret", "sha256": DIGEST, "headers": {"Authorization": "secret"}}
    told = for_host([file, {"path": "n", "src": "n"}])
    assert "secret" not in str(told["fetch"])
    assert [one["path"] for one in told["fetch"]] == ["m"]
    assert told["fetch_from"].count("secret") == 2


def test_a_diff_shows_no_text_of_a_file_that_the_host_fetches():
    fetched = entries([{"path": "m.txt", "url": "https://h/m", "sha256": DIGEST}], Path, Path(), set())
    assert list(_text_diffs({"src/m.txt": "old\n"}, fetched)) == []


def test_a_host_without_a_network_needs_room_for_what_the_control_node_has_fetched():
    action = ActionModule.__new__(ActionModule)
    action._who = "scoring, web1"
    extra = [pack.Entry("fetched/x", DIGEST, source=Path("x"), size=2 << 20)]
    args = {"requirements": [], "root": "/srv/scoring"}
    action._refuse_full_disk([], (), 1 << 20, args)
    with pytest.raises(
        pack.PackError, match=r"/srv/scoring on web1 has 1 MB free, and the files of the new release need 2 MB\."
    ):
        action._refuse_full_disk([], (), 1 << 20, args, extra)


@pytest.mark.parametrize(
    ("file", "source", "says"),
    [
        ({"path": "m.bin", "sha256": "0" * 64}, (), f"has the sha256 {DIGEST}"),
        ({"path": "wsgi.py"}, ("src/wsgi.py",), "the source has wsgi.py there"),
        ({"path": "wsgi.py/m"}, ("src/wsgi.py",), "the source has wsgi.py there"),
        ({"path": "pkg"}, ("src/pkg/a.py",), "the source has pkg/a.py there"),
    ],
)
def test_what_cannot_be_in_a_release_is_refused(data, file, source, says):
    with pytest.raises(pack.PackError) as refused:
        given({"src": str(data / "m.bin"), **file}, scratch=data, source=source)
    assert says in str(refused.value)


def test_a_pointer_of_git_lfs_and_a_linked_directory_are_refused(data):
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{DIGEST}\nsize 5\n"
    (data / "m.bin").write_text(pointer)
    with pytest.raises(pack.PackError, match="git lfs pull"):
        given({"path": "m", "src": str(data / "m.bin")}, scratch=data)
    (data / "snapshot" / "more").symlink_to(data / "blobs")
    with pytest.raises(pack.PackError, match="link to a directory"):
        given({"path": "m", "src": str(data / "snapshot")}, scratch=data)


def test_a_file_that_is_not_there_is_refused(data):
    def find(_src):
        raise AnsibleError("no")

    with pytest.raises(pack.PackError, match="no such file on the control node"):
        entries([{"path": "m", "src": "nowhere"}], find, data, set())
