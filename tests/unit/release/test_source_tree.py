# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What git keeps from a release is counted and can be taken along; a source that is not all there is refused by name."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.plugin_utils import app_files, pack
from ansible_collections.pygun.stack.plugins.plugin_utils.checkout import checkout
from ansible_collections.pygun.stack.plugins.plugin_utils.source_tree import SourceTree

MODELS = {"path": "models", "src": "models"}
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12\n"


def git(root, *arguments):
    command = ["git", "-C", root, "-c", "user.name=t", "-c", "user.email=t@t", "-c", "protocol.file.allow=always"]
    subprocess.run([*command, *arguments], check=True, capture_output=True)


def repository(path, **files):
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    for name, text in (files or {"wsgi.py": "app = None\n"}).items():
        (path / name).write_text(text)
    git(path, "add", "-A")
    git(path, "commit", "-qm", "one")
    return path


@pytest.fixture
def source(tmp_path):
    """Built assets, a model and caches, which git ignores."""
    root = tmp_path / "source"
    files = {
        ".gitignore": "dist/\n*.onnx\n.venv\n__pycache__/\n",
        "wsgi.py": "",
        "static/dist/app.js": "x" * 2000,
        "static/dist/img/a.png": "x" * 30,
        "models/a.onnx": "x" * 5_000_000,
        "models/old/b.onnx": "x",
        ".venv/lib.py": "",
        "__pycache__/wsgi.pyc": "",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def packed(root, *include, exclude=()):
    found = SourceTree(root, exclude, include)
    names = sorted(entry.path.removeprefix("src/") for entry in found.entries("src"))
    return [name for name in names if name not in (".gitignore", "wsgi.py")], found.left_out


@pytest.mark.parametrize("is_repository", [True, False])
def test_what_git_ignores_is_counted_without_what_no_release_has(source, is_repository):
    if is_repository:
        git(source, "init", "-q")
    names, left_out = packed(source)
    assert (names, left_out.count, left_out.size) == ([], 4, 5_002_031)
    assert str(left_out) == (
        "4 files are left out, since git ignores them: 5 MB; the largest: models/a.onnx (5 MB), static/dist/app.js (2 kB),"
        " static/dist/img/a.png (30 bytes). flask_app_include takes such files along."
    )


def test_nothing_is_said_when_nothing_is_left_out(source):
    shutil.rmtree(source / "static")
    shutil.rmtree(source / "models")
    assert str(packed(source)[1]) == ""


def test_an_unpacked_source_distribution_is_whole_and_a_repository_of_it_is_not(source):
    (source / "PKG-INFO").write_text("Metadata-Version: 2.4\n")
    names, left_out = packed(source)
    assert "static/dist/app.js" in names and not left_out.count
    (source / "PKG-INFO").write_text("What the packages of this folder are for.\n")
    assert "static/dist/app.js" not in packed(source)[0], "a file of that name is no metadata"
    (source / "PKG-INFO").write_text("Metadata-Version: 2.4\n")
    git(source, "init", "-q")
    assert "static/dist/app.js" not in packed(source)[0]


def test_a_repository_with_the_metadata_of_a_distribution_needs_git(source, monkeypatch):
    """Or what it ignores, such as a file with secrets, would be sent."""
    (source / "PKG-INFO").write_text("Metadata-Version: 2.4\n")
    git(source, "init", "-q")
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(pack.PackError, match="git is not installed"):
        packed(source)


@pytest.mark.parametrize(
    ("include", "names"),
    [
        (["static/dist"], ["static/dist/app.js", "static/dist/img/a.png"]),
        (["dist/"], ["static/dist/app.js", "static/dist/img/a.png"]),
        (["static/dist/*.png"], ["static/dist/img/a.png"]),
        (["*.onnx"], ["models/a.onnx", "models/old/b.onnx"]),
        (["models/a.onnx", "app.js"], ["models/a.onnx", "static/dist/app.js"]),
        (["models"], ["models/a.onnx", "models/old/b.onnx"]),
    ],
)
def test_some_of_it_can_be_taken_along(source, include, names):
    found, left_out = packed(source, *include)
    assert (found, left_out.count) == (names, 4 - len(names))


def test_an_exclusion_wins_over_an_inclusion(source):
    assert packed(source, "models", exclude=["old"])[0] == ["models/a.onnx"]


def test_an_inclusion_that_matches_no_file_is_refused(source):
    with pytest.raises(pack.PackError, match=r"flask_app_include names static/built, and .* has no such file"):
        packed(source, "dist", "static/built")


def test_a_pointer_of_git_lfs_is_refused_unless_it_is_excluded(source):
    for name in ("model.pkl", "other.pkl"):
        (source / name).write_text(POINTER)
    with pytest.raises(
        pack.PackError, match=r"model\.pkl and 1 others are pointers of Git LFS.*git lfs pull.*flask_app_exclude"
    ):
        packed(source)
    assert packed(source, exclude=["*.pkl"])[0] == []


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.bin", POINTER.replace("\n", "\r\n"), "m.bin is a pointer of Git LFS"),
        ("m.bin", "/annex/objects/SHA256E-s12--abc.bin\n", "m.bin is a pointer of git-annex.*git annex get"),
        ("keys/m.yml", "\0GITCRYPT\0" + "x" * 5000, "keys/m.yml is a pointer of git-crypt.*git-crypt unlock"),
    ],
)
def test_a_file_whose_content_is_elsewhere_is_refused_with_the_command_that_gets_it(source, name, content, says):
    (source / ".gitattributes").write_text("keys/** filter=git-crypt diff=git-crypt\n")
    (source / name).parent.mkdir(exist_ok=True)
    (source / name).write_bytes(content.encode())
    with pytest.raises(pack.PackError, match=says):
        packed(source)


def test_links_that_lead_to_no_content_are_refused(source):
    (source / "m.bin").symlink_to(".git/annex/objects/aa/bb/SHA256E-s1--x.bin/SHA256E-s1--x.bin")
    with pytest.raises(pack.PackError, match=r"m\.bin is a pointer of git-annex"):
        packed(source)
    (source / "m.bin").unlink()
    (source / "loop").symlink_to("loop")
    with pytest.raises(pack.PackError, match="loop is a symbolic link to itself"):
        packed(source)


def test_a_text_about_git_lfs_is_no_pointer(source):
    (source / "notes.md").write_text("version https://git-lfs.github.com/spec/v1\nis what a pointer begins with\n")
    assert packed(source)[0] == ["notes.md"]


@pytest.mark.parametrize("form", ["a clone", "a directory of a clone", "an archive", "a submodule of a submodule"])
def test_a_submodule_that_is_not_there_is_refused_unless_it_is_excluded(tmp_path, form):
    lib = repository(tmp_path / "lib", **{"lib.py": ""})
    app = repository(tmp_path / "app")
    if form == "a submodule of a submodule":
        git(app, "submodule", "add", "-q", str(repository(tmp_path / "middle")), "middle")
        lib, place = repository(tmp_path / "low"), app / "middle"
    else:
        place = app
    (place / "app").mkdir()
    (place / "app" / "wsgi.py").write_text("")
    git(place, "submodule", "add", "-q", str(lib), "app/vendor")
    git(app, "add", "-A")
    git(app, "commit", "-qm", "two")
    packed(app)
    shutil.rmtree(place / "app" / "vendor")
    (place / "app" / "vendor").mkdir()
    if form == "an archive":
        shutil.rmtree(app / ".git")
    root = app / "app" if form == "a directory of a clone" else app
    with pytest.raises(pack.PackError, match=r"app/vendor is a submodule .*git submodule update --init --recursive"):
        packed(root)
    packed(root, exclude=["vendor"])


@pytest.mark.parametrize("address", ["file://{}", "{}"])
def test_a_checkout_has_its_origin_so_that_relative_submodules_are_found(tmp_path, address):
    repository(tmp_path / "lib", **{"lib.py": ""})
    app = repository(tmp_path / "app")
    (app / ".gitmodules").write_text('[submodule "v"]\n\tpath = v\n\turl = ../lib\n')
    commit = subprocess.run(
        ["git", "-C", tmp_path / "lib", "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    git(app, "add", "-A")
    git(app, "update-index", "--add", "--cacheinfo", f"160000,{commit},v")
    git(app, "commit", "-qm", "two")
    checkout(address.format(app), "main", tmp_path / "out")
    assert packed(tmp_path / "out")[0] == [".gitmodules", "v/lib.py"]


def with_model(tmp_path, content):
    attributes = "*.pkl filter=lfs diff=lfs merge=lfs -text\n"
    app = tmp_path / "app"
    app.mkdir()
    git(app, "init", "-q", "-b", "main")
    if content != POINTER:
        subprocess.run(["git", "-C", app, "lfs", "install", "--local"], check=True, capture_output=True)
    (app / ".gitattributes").write_text(attributes)
    (app / "model.pkl").write_text(content)
    git(app, "add", "-A")
    git(app, "commit", "-qm", "one")
    return app


@pytest.mark.skipif(not shutil.which("git-lfs"), reason="there is no git-lfs")
def test_a_checkout_has_the_objects_of_git_lfs(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # where nobody has run `git lfs install`
    checkout(f"file://{with_model(tmp_path, 'the model')}", "main", tmp_path / "out")
    assert (tmp_path / "out" / "model.pkl").read_text() == "the model"


def test_without_git_lfs_a_checkout_with_pointers_is_refused_by_name(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("git", "sh", "basename", "sed", "uname"):
        (folder / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(folder))
    app = with_model(tmp_path, POINTER)
    # As a user has it who ran `git lfs install`, and from whom git-lfs was removed.
    (tmp_path / ".gitconfig").write_text('[filter "lfs"]\n\tprocess = git-lfs filter-process\n\trequired = true\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    checkout(str(app), "main", tmp_path / "out")
    with pytest.raises(
        pack.PackError, match=r"model\.pkl is a pointer of Git LFS.*Install git-lfs on the control node"
    ):
        packed(tmp_path / "out")


def test_a_token_alone_is_no_part_of_what_stays_on_disk(tmp_path):
    with pytest.raises(pack.PackError) as caught:
        checkout("http://t0ken@127.0.0.1:9/a.git", "main", tmp_path / "out")
    assert "t0ken" not in str(caught.value)
    config = (tmp_path / "out" / ".git" / "config").read_text()
    assert "http://127.0.0.1:9/a.git" in config and "t0ken" not in config
    assert os.path.isdir(tmp_path / "out")


def test_a_deploy_that_a_hook_of_git_starts_reads_its_own_source(tmp_path, monkeypatch):
    """git tells a hook such as post-receive which repository it is for, and with it every git that the hook calls."""
    app = repository(tmp_path / "app", **{"wsgi.py": "", "kept.log": ""})
    (app / ".gitignore").write_text("*.log\n")
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "pushed.git"], check=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "pushed.git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "none"))
    assert {entry.path for entry in SourceTree(app).entries("src")} == {"src/.gitignore", "src/kept.log", "src/wsgi.py"}
    checkout(str(app), "main", tmp_path / "out")
    assert (tmp_path / "out" / "kept.log").exists()


def ignoring(folder, *patterns):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("".join(f"{pattern}\n" for pattern in patterns))
    for name in ("wsgi.py", "secret.env"):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("place", [".", "app"])
def test_a_list_of_what_git_takes_keeps_the_rest_from_hosts(tmp_path, place):
    """Such a list begins with *, and so names the source itself."""
    git(tmp_path, "init", "-q")
    names, left_out = packed(ignoring(tmp_path / place, "*", "!wsgi.py"))
    assert (names, [path for _size, path in left_out.largest]) == ([], [".gitignore", "secret.env"])


@pytest.mark.parametrize("outside", [("build",), ("build/*",), ("*",)])
def test_a_source_that_its_repository_ignores_was_named_on_purpose(tmp_path, outside):
    git(tmp_path, "init", "-q")
    ignoring(tmp_path, *outside)
    for folder in ("build/deep", "build"):
        assert packed(ignoring(tmp_path / folder))[0][-1:] == ["secret.env"]


def test_a_source_whose_own_list_names_all_of_it_was_named_on_purpose(tmp_path):
    git(tmp_path, "init", "-q")
    assert packed(ignoring(tmp_path / "dist", "*"))[0] == ["secret.env"]


def test_a_socket_or_a_pipe_is_left_out_as_git_does_and_may_not_be_taken_along(tmp_path):
    os.mkfifo(tmp_path / "app.fifo")
    (tmp_path / "wsgi.py").touch()
    names, left_out = packed(tmp_path)
    assert (names, left_out.count) == ([], 1)
    with pytest.raises(pack.PackError, match="neither a file nor a link"):
        packed(tmp_path, "*.fifo")


def test_a_link_to_what_is_left_out_is_noted(tmp_path):
    git(tmp_path, "init", "-q")
    ignoring(tmp_path, "*.env")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "x.py").touch()
    for name, target in {"a": "secret.env", "b": "wsgi.py", "c": "lib", "d": "nowhere"}.items():
        (tmp_path / name).symlink_to(target)
    assert str(packed(tmp_path)[1]).endswith("a is a link to what is left out, such as secret.env.")


def test_a_name_cannot_write_on_the_terminal(tmp_path):
    git(tmp_path, "init", "-q")
    (ignoring(tmp_path, "*.log") / "a\n\x1b[2J.log").touch()
    assert "a\\n\\x1b[2J.log (0 bytes)" in str(packed(tmp_path)[1])


def test_a_folder_that_cannot_be_read_is_refused(tmp_path):
    """Or its files would be missing in the release, without a word. Root reads all, so the folder goes while it is looked at."""
    (tmp_path / "wsgi.py").touch()
    (tmp_path / "z").mkdir()
    tree = SourceTree(tmp_path)
    walk = iter(tree.entries("src"))
    next(walk)
    (tmp_path / "z").rmdir()
    with pytest.raises(pack.PackError, match=r"/z cannot be read: .*flask_app_exclude"):
        list(walk)


@pytest.mark.parametrize(
    "read",
    [
        lambda path: SourceTree(path).entries("src"),
        lambda path: app_files.entries([MODELS], lambda _src: path, path, set()),
    ],
)
def test_a_folder_that_is_closed_is_refused(read):
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        os.mkdir(f"{name}/closed", 0)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)
            with pytest.raises(pack.PackError, match="/closed cannot be read: Permission denied"):
                list(read(Path(name)))
        finally:
            os.seteuid(user)
            os.chmod(f"{name}/closed", 0o700)


def test_a_file_that_no_release_has_may_go_meanwhile(tmp_path):
    for name, text in {".gitignore": "*.swp\n", "wsgi.py": "", "z.swp": ""}.items():
        (tmp_path / name).write_text(text)
    tree = SourceTree(tmp_path)
    walk = tree.entries("src")
    next(walk)
    (tmp_path / "z.swp").unlink()
    assert [entry.path for entry in walk] == ["src/wsgi.py"]


@pytest.mark.parametrize(("pattern", "names"), [("**/*.log", []), ("**/d", ["a.log"]), ("d/**", ["a.log"])])
def test_two_stars_are_also_the_source_itself(tmp_path, pattern, names):
    (tmp_path / "d").mkdir()
    for name in ("wsgi.py", "a.log", "d/b.log"):
        (tmp_path / name).touch()
    assert packed(tmp_path, exclude=[pattern])[0] == names
