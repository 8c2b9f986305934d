# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What belongs to a release, and that the same content always gives the same one."""

import errno
import gzip
import multiprocessing
import os
import subprocess
import tarfile

import pytest

from ansible_collections.pygun.stack.plugins.plugin_utils import pack
from ansible_collections.pygun.stack.plugins.plugin_utils.checkout import checkout
from ansible_collections.pygun.stack.plugins.plugin_utils.source_tree import SourceTree
from tests import git_server


def paths(root, exclude=()):
    return sorted(entry.path for entry in SourceTree(root, exclude).entries("src"))


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "source"
    root.mkdir()
    (root / "wsgi.py").write_text("app = None\n")
    (root / "pkg").mkdir()
    (root / "pkg" / "__init__.py").write_text("")
    return root


def git(root, *arguments):
    subprocess.run(
        ["git", "-C", root, "-c", "user.name=t", "-c", "user.email=t@t", *arguments], check=True, capture_output=True
    )


def test_caches_virtual_environments_and_repositories_are_left_out(source):
    for folder in (".git", "__pycache__", "pkg/__pycache__", ".venv", "env/bin"):
        (source / folder).mkdir(parents=True, exist_ok=True)
        (source / folder / "file.py").write_text("")
    (source / "env" / "pyvenv.cfg").write_text("")
    (source / "pkg" / "old.pyc").write_text("")
    assert paths(source) == ["src/pkg/__init__.py", "src/wsgi.py"]


@pytest.mark.parametrize("repository", [True, False], ids=["in a repository", "in a plain folder"])
def test_what_gitignore_names_is_left_out(source, repository):
    if repository:
        git(source, "init", "-q")
    (source / ".gitignore").write_text("*.log\n/build/\n")
    (source / "debug.log").write_text("")
    (source / "build").mkdir()
    (source / "build" / "out.py").write_text("")
    (source / "pkg" / "build").mkdir()
    (source / "pkg" / "build" / "kept.py").write_text("")
    assert paths(source) == ["src/.gitignore", "src/pkg/__init__.py", "src/pkg/build/kept.py", "src/wsgi.py"]


def test_a_tracked_file_that_a_pattern_matches_is_kept(source):
    git(source, "init", "-q")
    (source / "model.bin").write_text("weights")
    git(source, "add", "-A")
    git(source, "commit", "-qm", "all")
    (source / ".gitignore").write_text("*.bin\n")
    assert "src/model.bin" in paths(source)


def test_a_source_inside_a_bigger_repository_obeys_its_gitignore(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("secret.txt\n")
    source = tmp_path / "app"
    source.mkdir()
    (source / "wsgi.py").write_text("")
    (source / "secret.txt").write_text("")
    assert paths(source) == ["src/wsgi.py"]


def test_a_source_that_its_repository_ignores_is_deployed_all_the_same(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("/dist/\n")
    source = tmp_path / "dist"
    source.mkdir()
    (source / "wsgi.py").write_text("")
    assert paths(source) == ["src/wsgi.py"]


def test_excluded_names_and_paths_are_left_out(source):
    (source / "notebooks").mkdir()
    (source / "notebooks" / "a.ipynb").write_text("")
    (source / "pkg" / "data.csv").write_text("")
    assert paths(source, ["notebooks", "pkg/*.csv"]) == ["src/pkg/__init__.py", "src/wsgi.py"]


def test_the_same_content_gives_the_same_digest_and_archive(source, tmp_path):
    def packed(name):
        entries = list(SourceTree(source).entries("src"))
        pack.write_archive(entries, tmp_path / name)
        return pack.digest(pack.manifest(entries)), (tmp_path / name).read_bytes()

    first = packed("one")
    os.utime(source / "wsgi.py", (1, 1))
    (source / "wsgi.py").chmod(0o600)
    assert packed("two") == first


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "wsgi.py").write_text("app = 1\n"),
        lambda root: (root / "wsgi.py").chmod(0o755),
        lambda root: (root / "wsgi.py").rename(root / "main.py"),
        lambda root: (root / "empty.txt").write_text(""),
        lambda root: (root / "link").symlink_to("wsgi.py"),
    ],
    ids=["content", "executable bit", "name", "new file", "link"],
)
def test_any_change_gives_another_digest(source, change):
    before = pack.digest(pack.manifest(SourceTree(source).entries("src")))
    change(source)
    assert pack.digest(pack.manifest(SourceTree(source).entries("src"))) != before


def test_the_archive_holds_content_links_and_executable_bits(source, tmp_path):
    (source / "run.sh").write_text("#!/bin/sh\n")
    (source / "run.sh").chmod(0o755)
    (source / "link.py").symlink_to("wsgi.py")
    entries = [*SourceTree(source).entries("src"), pack.entry_from_bytes("pygun.py", b"x = 1\n")]
    pack.write_archive(entries, tmp_path / "release.tar.gz")
    with tarfile.open(tmp_path / "release.tar.gz") as archive:
        assert archive.extractfile("pygun.py").read() == b"x = 1\n"
        assert archive.getmember("src/run.sh").mode == 0o755
        assert archive.getmember("src/wsgi.py").mode == 0o644
        assert archive.getmember("src/link.py").linkname == "wsgi.py"
        assert {(member.uid, member.mtime) for member in archive} == {(0, 0)}


def test_a_file_that_changes_while_it_is_packed_is_an_error(source, tmp_path):
    entries = list(SourceTree(source).entries("src"))
    (source / "wsgi.py").write_text("changed\n")
    with pytest.raises(pack.PackError, match=r"wsgi\.py changed while it was packed"):
        pack.write_archive(entries, tmp_path / "release.tar.gz")


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside"])
def test_a_link_out_of_the_source_is_an_error_that_names_it(source, target):
    (source / "link").symlink_to(target)
    with pytest.raises(pack.PackError, match=rf"link is a symbolic link to {target}, outside the source"):
        list(SourceTree(source).entries("src"))


@pytest.mark.parametrize("ref", ["main", "v1", "commit", "short commit"])
def test_a_git_reference_is_checked_out(source, tmp_path, ref):
    git(source, "init", "-q", "-b", "main")
    git(source, "add", "-A")
    git(source, "commit", "-qm", "one")
    git(source, "tag", "v1")
    commit = subprocess.run(
        ["git", "-C", source, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    asked = {"commit": commit, "short commit": commit[:9]}.get(ref, ref)
    assert checkout(str(source), asked, tmp_path / "out") == commit
    assert (tmp_path / "out" / "wsgi.py").read_text() == "app = None\n"


def test_a_git_reference_that_does_not_exist_is_an_error_that_names_it(source, tmp_path):
    git(source, "init", "-q", "-b", "main")
    git(source, "add", "-A")
    git(source, "commit", "-qm", "one")
    with pytest.raises(pack.PackError, match="nowhere cannot be fetched from"):
        checkout(str(source), "nowhere", tmp_path / "out")


@pytest.fixture
def guarded(source, tmp_path):
    git(source, "init", "-q", "-b", "main")
    git(source, "add", "-A")
    git(source, "commit", "-qm", "one")
    git(source, "clone", "-q", "--bare", ".", str(tmp_path / "bare.git"))
    git(tmp_path / "bare.git", "update-server-info")
    with git_server.serving(tmp_path, {"bare.git": "m@e:s3cr/t"}) as server:
        yield server


def test_a_login_in_the_address_reaches_the_server_and_no_process_list(guarded, tmp_path):
    address = f"127.0.0.1:{guarded.server_port}/bare.git"
    for ref in ("main", "HEAD"):
        checkout(f"http://m%40e:s3cr%2Ft@{address}", ref, tmp_path / ref)
        assert (tmp_path / ref / "wsgi.py").exists()
    assert any(b"remote-http" in one for one in guarded.seen)
    assert not any(b"s3cr" in one for one in guarded.seen)


def test_a_login_that_is_refused_is_an_error_without_it(guarded, tmp_path):
    address = f"127.0.0.1:{guarded.server_port}/bare.git"
    with pytest.raises(pack.PackError, match=r"main cannot be fetched from http://\*\*\*@127.0.0.1") as caught:
        checkout(f"http://me:wr0ng@{address}", "main", tmp_path / "out")
    assert "wr0ng" not in str(caught.value)


def test_the_login_of_a_submodule_that_cannot_be_had_is_not_shown(source, tmp_path):
    git(source, "init", "-q", "-b", "main")
    (source / ".gitmodules").write_text('[submodule "s"]\n\tpath = s\n\turl = http://ci:s3cret@127.0.0.1:9/s.git\n')
    git(source, "add", "-A")
    git(source, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},s")
    git(source, "commit", "-qm", "one")
    with pytest.raises(pack.PackError, match="main of .* cannot be checked out") as caught:
        checkout(str(source), "main", tmp_path / "out")
    assert "s3cret" not in str(caught.value)


def test_what_does_not_become_smaller_is_stored(source, tmp_path):
    noise = os.urandom(1 << 16)
    model = noise + bytes(1 << 19) + noise * 16  # a sample from both places says that it is all like this
    for name, content in (("model.onnx", model), ("table.csv", b"1,2,3\n" * (1 << 19))):
        (source / name).write_bytes(content)
    sizes = []
    for name in ("model.onnx", "table.csv"):
        (source / name).touch()
        pack.write_archive([pack.entry_from_file(name, source / name, source)], tmp_path / "one.tar.gz")
        sizes.append((tmp_path / "one.tar.gz").stat().st_size)
        with tarfile.open(tmp_path / "one.tar.gz") as archive:
            assert archive.extractfile(name).read() == (source / name).read_bytes()
    assert len(model) < sizes[0] < len(model) + 5000
    assert sizes[1] < 100_000
    with gzip.open(tmp_path / "one.tar.gz") as stream:
        assert len(stream.read()) > 3 << 20


# ---- what the hosts of one run share


def collect_from(source, counter):
    def collect(scratch):
        with counter.open("a") as stream:
            stream.write("read\n")
        (scratch / "checkout").mkdir()
        (scratch / "checkout" / "made.py").write_text("")
        entries = [
            *SourceTree(source).entries("src"),
            pack.entry_from_file("src/made.py", scratch / "checkout/made.py", scratch),
        ]
        return pack.Collected(entries, ["src/requirements.txt"], {"ref": "main"})

    return collect


def test_hosts_that_ask_at_the_same_time_have_the_source_read_once_and_get_the_same(source, tmp_path):
    counter = tmp_path / "counter"

    def one_host(number):
        shared = pack.Shared(tmp_path / "run")
        collected = shared.collected(collect_from(source, counter))
        archive = shared.archive([*collected.entries, pack.entry_from_bytes("pygun.py", b"")])
        (tmp_path / f"answer{number}").write_bytes(archive.read_bytes())

    hosts = [multiprocessing.get_context("fork").Process(target=one_host, args=(number,)) for number in range(4)]
    for host in hosts:
        host.start()
    for host in hosts:
        host.join()
    assert counter.read_text() == "read\n"
    answers = {(tmp_path / f"answer{number}").read_bytes() for number in range(4)}
    assert len(answers) == 1
    with tarfile.open(tmp_path / "answer0") as archive:
        assert {"src/wsgi.py", "src/made.py", "pygun.py", "manifest.json"} <= set(archive.getnames())


def test_what_the_first_host_collected_is_what_the_others_get(source, tmp_path):
    (source / "link").symlink_to("wsgi.py")
    (source / os.fsdecode(b"not-utf-8-\xff")).write_text("")
    (source / "other").symlink_to(os.fsdecode(b"not-utf-8-\xff"))
    collect = collect_from(source, tmp_path / "counter")
    first = pack.Shared(tmp_path / "run").collected(collect)
    assert pack.Shared(tmp_path / "run").collected(collect) == first
    assert [entry.link for entry in first.entries if entry.path == "src/link"] == ["wsgi.py"]


def test_a_disk_of_the_control_node_that_is_full_is_an_error_in_words():
    with pytest.raises(pack.PackError, match=r"^It cannot be read \(No space left on device: /x\)\.$"):
        with pack.in_words("It cannot be read"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x")


def test_each_host_may_render_its_own_settings(source, tmp_path):
    shared = pack.Shared(tmp_path / "run")
    collected = shared.collected(collect_from(source, tmp_path / "counter"))
    one, other = (
        shared.archive([*collected.entries, pack.entry_from_bytes("pygun.py", text)]) for text in (b"workers = 1", b"")
    )
    assert one.read_bytes() != other.read_bytes()


def test_hosts_that_know_other_files_get_another_archive(source, tmp_path):
    shared = pack.Shared(tmp_path / "run")
    entries = shared.collected(collect_from(source, tmp_path / "counter")).entries
    known = {entry.signature for entry in entries if entry.path == "src/wsgi.py"}
    with tarfile.open(shared.archive(entries)) as archive:
        everything = set(archive.getnames())
    with tarfile.open(shared.archive(entries, known)) as archive:
        assert set(archive.getnames()) == everything - {"src/wsgi.py"}


def test_a_source_that_cannot_be_packed_is_read_again_by_the_next_host(tmp_path):
    shared = pack.Shared(tmp_path / "run")

    def fail(scratch):
        (scratch / "half").write_text("")
        raise pack.PackError("no")

    for _ in range(2):
        with pytest.raises(pack.PackError):
            shared.collected(fail)
