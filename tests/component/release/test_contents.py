# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A release has the files that its manifest names, links to those of former releases, and shares none that an app's build could write.

As root with a real change of user, else only what one user can show.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.host import build_account
from ansible_collections.pygun.stack.plugins.module_utils.host.build_account import Account
from ansible_collections.pygun.stack.plugins.module_utils.release import contents
from ansible_collections.pygun.stack.plugins.module_utils.release.store import ReleaseStore
from ansible_collections.pygun.stack.plugins.plugin_utils import pack

is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
NUMBER = 58000 + os.getpid() % 3000
PYTHON = "/usr/bin/python3"
MODEL = os.urandom(1 << 16)


class Host:
    """An app's directory, and the control node that deploys to it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.account = None if os.geteuid() else Account("pygun-build-of-contents", NUMBER, NUMBER)
        self.store = ReleaseStore(str(place / "app"))

    def entries(self, files: dict[str, bytes]) -> list[pack.Entry]:
        return [pack.entry_from_bytes(path, data) for path, data in files.items()]

    def build(self, number: int, files: dict[str, bytes], code: str = "", requirements=(), known=None) -> Path:
        """Build a release as `build.build` does, with a program of the build account in the place of the installer."""
        entries = self.entries(files)
        known = contents.known(self.store) if known is None else known
        archive = self.place / f"{number}.tar.gz"
        new = [
            *pack.lacking(entries, known),
            pack.entry_from_bytes("manifest.json", pack.to_json(pack.manifest(entries))),
        ]
        pack.write_archive(new, archive)
        release = Path(self.store.path(f"{number:016x}"))
        release.mkdir(parents=True, mode=0o700)
        work = contents.Contents(str(release), requirements)
        work.unpack(str(archive), self.store)
        if self.account:
            os.chown(release, 0, self.account.gid)
            release.chmod(0o710)
        with work.lent("src", self.account):
            if code:
                command = [PYTHON, "-ISc", f"import os; os.chdir({str(release / 'src')!r})\n{code}"]
                done = build_account.run(command, self.account, {}, 30, network=False)
                assert done.returncode == 0, done.stderr
        work.record()
        (release / "release.json").write_text("{}")
        return release


@pytest.fixture(name="host")
def host_fixture():
    folder = Path(tempfile.mkdtemp(prefix="pygun-contents-"))
    folder.chmod(0o755)
    yield Host(folder)
    shutil.rmtree(folder)


def identity(path: Path) -> tuple[int, int]:
    return path.stat().st_dev, path.stat().st_ino


def test_what_a_former_release_has_is_linked_and_not_sent(host):
    files = {"src/model.bin": MODEL, "src/pkg/data.csv": b"1,2\n", "src/wsgi.py": b"one"}
    old = host.build(1, files)
    new = host.build(2, {**files, "src/wsgi.py": b"two", "src/moved/model.bin": MODEL})
    assert (host.place / "2.tar.gz").stat().st_size < 2000
    for name in ("src/model.bin", "src/moved/model.bin"):
        assert identity(new / name) == identity(old / "src/model.bin")
    assert (new / "src/wsgi.py").read_bytes() == b"two" and (old / "src/wsgi.py").read_bytes() == b"one"
    shutil.rmtree(old)
    assert (new / "src/model.bin").read_bytes() == MODEL
    assert identity(host.build(3, files) / "src/model.bin") == identity(new / "src/model.bin")


def test_an_executable_file_is_not_the_same_as_one_that_is_not(host):
    host.build(1, {"src/tool": MODEL})
    [tool] = host.entries({"src/tool": MODEL})
    assert tool.signature in contents.known(host.store)
    assert pack.Entry("src/tool", tool.digest, executable=True).signature not in contents.known(host.store)


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.write_bytes(b"x" * len(MODEL)),
        lambda file: file.chmod(0o666),
        lambda file: (file.rename(file.with_name("other")), file.symlink_to("other")),
        lambda file: file.unlink(),
        lambda file: (file.parents[1] / "release.json").unlink(),
        lambda file: (file.parents[1] / "files.json").write_text('{"src/model.bin": [["x"], {}, null]}'),
        lambda file: (file.parents[1] / "files.json").unlink(),
        lambda file: os.chown(file, NUMBER, -1) if os.geteuid() == 0 else file.unlink(),
    ],
    ids=["content", "mode", "link", "gone", "half-built", "damaged record", "release of an older version", "owner"],
)
def test_a_file_that_is_not_as_it_was_built_is_not_used(host, change):
    old = host.build(1, {"src/model.bin": MODEL})
    assert contents.known(host.store)
    change(old / "src/model.bin")
    assert contents.known(host.store) == {}
    assert (host.build(2, {"src/model.bin": MODEL}) / "src/model.bin").read_bytes() == MODEL


def test_a_file_that_has_gone_since_the_host_was_asked_is_asked_for(host):
    known = contents.known(host.store) | {host.entries({"a": MODEL})[0].signature: "gone"}
    with pytest.raises(contents.Lacking, match=r"src/model\.bin"):
        host.build(1, {"src/model.bin": MODEL}, known=known)


WRITE = """
def attempt(work):
    try:
        work()
    except OSError:
        pass
attempt(lambda: open('model.bin', 'r+b').write(b'evil'))
attempt(lambda: os.truncate('model.bin', 0))
attempt(lambda: os.chmod('model.bin', 0o666))
attempt(lambda: os.utime('model.bin', (1, 1)))
attempt(lambda: os.link('model.bin', 'linked.bin'))
"""


@is_root
@pytest.mark.parametrize(
    "requirements", [(), ("requirements/folders.txt",)], ids=["packages", "a project in the source"]
)
def test_a_build_cannot_change_a_file_of_another_release(host, requirements):
    old = host.build(1, {"src/model.bin": MODEL}, requirements=requirements)
    before = os.stat(old / "src/model.bin")
    new = host.build(2, {"src/model.bin": MODEL, "src/a.py": b""}, code=WRITE, requirements=requirements)
    after = os.stat(old / "src/model.bin")
    assert (old / "src/model.bin").read_bytes() == MODEL
    assert (after.st_uid, after.st_mode, after.st_mtime_ns) == (0, before.st_mode, before.st_mtime_ns)
    for path in new.rglob("*"):
        assert path.lstat().st_uid == 0 and not path.lstat().st_mode & 0o022, path
    # What the build of a project may write to is then its own, and no longer what was sent.
    changed = (new / "src/model.bin").read_bytes() != MODEL
    assert changed == bool(requirements)
    assert (identity(new / "src/model.bin") == identity(old / "src/model.bin")) != changed


@is_root
def test_a_file_that_a_build_has_put_in_the_place_of_another_one_is_not_shared(host):
    code = "\n".join(
        [
            "import time",
            "for name in ('model.bin', 'b.bin'):",  # the file system may give the inode of one that is gone to the other
            "    os.unlink(name)",
            f"    open(name, 'wb').write(b'y' * {len(MODEL)})",
        ]
    )
    first = host.build(1, {"src/model.bin": MODEL, "src/b.bin": MODEL[::-1], "src/c.bin": b"c"}, code=code)
    assert (first / "src/model.bin").read_bytes() != MODEL
    assert set(contents.known(host.store)) == {host.entries({"c": b"c"})[0].signature}
    second = host.build(2, {"src/model.bin": MODEL})
    assert (second / "src/model.bin").read_bytes() == MODEL


def test_what_takes_the_place_of_a_damaged_release_is_not_taken_for_that_one(host):
    files = {"src/a.py": MODEL, "manifest.json": pack.to_json(pack.manifest(host.entries({"src/a.py": MODEL})))}
    damaged, release = host.build(1, {"src/a.py": MODEL}), Path(host.store.path("f" * 16))
    pack.write_archive(host.entries(files), host.place / "again.tar.gz")
    release.mkdir()
    work = contents.Contents(str(release))
    work.unpack(str(host.place / "again.tar.gz"), host.store)
    shutil.rmtree(damaged)
    work.path = str(shutil.move(release, damaged))
    (damaged / "src/made.py").write_bytes(b"made by a build")
    # A new file in the place of a removed one may get its number.
    (damaged / "src/made.py").rename(damaged / "src/a.py")
    work.record()
    assert (damaged / "files.json").read_text() == "{}"


def test_a_build_of_a_project_that_changes_nothing_shares_all_in_the_end(host):
    files = {"src/model.bin": MODEL, "src/version.py": b"1"}
    code = "open('version.py', 'w').write('2')"
    old = host.build(1, files, code, ["requirements/folders.txt"])
    new = host.build(2, files, code, ["requirements/folders.txt"])
    assert identity(old / "src/model.bin") == identity(new / "src/model.bin")
    assert (new / "src/version.py").read_bytes() == b"2"


def test_an_archive_in_parts_is_read_as_one_and_one_that_is_cut_is_refused(host, monkeypatch):
    monkeypatch.setattr(pack, "PART", 10_000)
    (host.place / "model").write_bytes(MODEL * 32)
    entries = [
        pack.entry_from_file("src/model.bin", host.place / "model", host.place),
        *host.entries({"src/z.py": b"z"}),
    ]
    archive = host.place / "release.tar.gz"
    pack.write_archive(entries, archive)
    parts = pack.parts(archive)
    assert len(parts) > 100
    cut = host.place / "cut.tar.gz"
    cut.write_bytes(b"".join(part.read_bytes() for part in parts[:-1]))
    release = Path(host.store.path("a" * 16))
    contents.Contents(str(release)).unpack(str(archive), host.store)
    assert (release / "src/model.bin").read_bytes() == MODEL * 32
    assert [part.exists() for part in parts] == [False] * (len(parts) - 1) + [True]  # no disk holds it twice
    with pytest.raises(contents.tarfile.TarError, match="not whole|unexpected end"):
        contents.Contents(str(release)).unpack(str(cut), host.store)


def test_the_space_of_a_directory_that_is_not_there_yet_is_that_of_the_one_above(tmp_path):
    assert contents.free_space(str(tmp_path / "a" / "b")) > 0
