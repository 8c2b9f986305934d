# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Archives as other programs write them are unpacked, and what a server sends in place of a file is named."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.release import fetcher
from ansible_collections.pygun.stack.plugins.plugin_utils import app_files, pack

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 1\n" % (b"0" * 64)


def zipped(*members):
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as packed:
        for name, content in members:
            packed.writestr(zipfile.ZipInfo(name), content)
    return raw.getvalue()


def tarball(*members):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as packed:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return raw.getvalue()


MODEL = zipped(("data.pkl", b"weights"))
ARCHIVES = {
    "a tar archive that ends with a model, which is a zip archive": (
        tarball(("config.json", b"{}"), ("model.pt", MODEL)),
        {"config.json": b"{}", "model.pt": MODEL},
    ),
    "a zip archive of Windows": (zipped(("models\\a.bin", b"1")), {"models/a.bin": b"1"}),
    "a tar archive to which a newer file was added": (tarball(("a", b"old"), ("b", b"1"), ("a", b"new")), {"a": b"new", "b": b"1"}),
    "a program that unpacks itself": (b"#!/bin/sh\n" + zipped(("a", b"1")), {"a": b"1"}),
}  # fmt: skip


@pytest.mark.parametrize(("content", "files"), ARCHIVES.values(), ids=ARCHIVES)
def test_an_archive_is_unpacked_whatever_program_has_made_it(tmp_path, content, files):
    (tmp_path / "archive").write_bytes(content)
    target = tmp_path / "files"
    fetcher.extract(str(tmp_path / "archive"), str(target))
    found = {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert found == files


@pytest.mark.parametrize("name", ["..\\..\\evil", "models\\..\\..\\evil", "\\evil"])
def test_a_path_of_windows_may_not_lead_out_of_its_folder(tmp_path, name):
    (tmp_path / "archive").write_bytes(zipped((name, b"x")))
    with pytest.raises(fetcher.FetchError, match="leads out of its folder"):
        fetcher.extract(str(tmp_path / "archive"), str(tmp_path / "files"))


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"\n<!DOCTYPE html>\n<html>", "a web page"), (POINTER, "a pointer of Git LFS"), (b"x", "Correct the one")],
)
def test_a_wrong_digest_says_what_came_in_place_of_the_file(tmp_path, content, says):
    (tmp_path / "m.bin").write_bytes(content)
    file = {"path": "m.bin", "src": str(tmp_path / "m.bin"), "sha256": "0" * 64}
    with pytest.raises(pack.PackError, match=says):
        app_files.entries([file], lambda src: tmp_path / src, tmp_path, set())
