"""Which entries of a source stay in the release, and which are first content of a path that outlives it."""

import pytest

from ansible_collections.pygun.stack.plugins.plugin_utils.pack import PackError, entry_from_bytes
from ansible_collections.pygun.stack.plugins.plugin_utils.shared_paths import take_out
from ansible_collections.pygun.stack.plugins.plugin_utils.source_tree import SourceTree


def taken(tmp_path, declared, *files):
    for name in ("wsgi.py", *files):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    found = take_out(SourceTree(tmp_path, links=declared).entries("src"), declared)
    return sorted(entry.path for entry in found.entries), found


@pytest.mark.parametrize(
    ("declared", "path"),
    [("instance", "instance/"), ("data.d/", "data.d/"), ("app.db", "app.db"), (".cache", ".cache/")],
)
def test_without_content_the_name_says_whether_it_is_a_folder(tmp_path, declared, path):
    paths, found = taken(tmp_path, [declared])
    assert found.paths == [path]
    assert paths == ["src/wsgi.py"]
    assert found.notes == []


def test_what_the_source_has_is_the_first_content(tmp_path):
    declared = ["pictures.d", "LICENSE", "pkg/uploads"]
    paths, found = taken(tmp_path, declared, "pictures.d/a/b", "pictures.data", "LICENSE", "pkg/__init__.py")
    assert paths == [
        "shared/LICENSE",
        "shared/pictures.d/a/b",
        "src/pictures.data",
        "src/pkg/__init__.py",
        "src/wsgi.py",
    ]
    assert found.paths == ["LICENSE", "pictures.d/", "pkg/uploads/"]
    assert len(found.notes) == 2
    assert (
        "pictures.d outlives releases: a file of the source is its content on a host where it is empty"
        in found.notes[0]
    )


@pytest.mark.parametrize(("path", "code"), [("pkg", "pkg/sub/__init__.py"), ("wsgi.py", "wsgi.py")])
def test_code_is_no_data(tmp_path, path, code):
    with pytest.raises(PackError, match=rf"names {path}, and the source has code there \({code}\)"):
        taken(tmp_path, [path], code)


def test_a_link_to_a_path_of_the_host_is_kept_if_it_is_declared(tmp_path):
    (tmp_path / "media").symlink_to("/mnt/nas/media")
    with pytest.raises(PackError, match="name it in flask_app_shared_paths"):
        taken(tmp_path, [])
    paths, found = taken(tmp_path, ["media"])
    assert found.paths == []
    assert [entry.link for entry in found.entries if entry.path == "src/media"] == ["/mnt/nas/media"]
    assert "media stays a symbolic link" in found.notes[0]
    (tmp_path / "media").unlink()
    (tmp_path / "media").symlink_to("../elsewhere")
    with pytest.raises(PackError, match="outside the source"):
        taken(tmp_path, ["media"])


def test_a_name_that_begins_like_a_path_is_another(tmp_path):
    assert take_out([entry_from_bytes("src/instances.txt", b"")], ["instance"]).entries[0].path == "src/instances.txt"
