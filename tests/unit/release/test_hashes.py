# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a deploy trusts is said, and what it must not trust is refused on the control node."""

import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.plugin_utils import hashes, needs, pack

SERVER = ["gunicorn[gevent]==27.0.1", "gevent==26.9.0"]
HASH = f"--hash=sha256:{'0' * 64}"
WHOLE = "".join(f"{text} {HASH}\n" for text in ("flask==3.1.2", "gunicorn==27.0.1", "gevent==26.9.0"))


def files_of(tmp_path, text, require=False):
    """The requirement files of a source as a release has them."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "requirements.txt").write_text(text)
    needed = needs.of(source, [], ["src/requirements.txt"], tmp_path, require_hashes=require)
    found = {entry.path: entry.source for entry in needed.entries}
    return [found[path] for path in needed.paths]


@pytest.mark.parametrize(
    ("text", "packages", "says"),
    [
        (WHOLE + "click\n", [], ["no hash of click (requirements.txt, line 4). ", "uv pip compile --generate-hashes"]),
        (WHOLE + "a\nb\nc\nd\ne\n", [], ["c (requirements.txt, line 6) and 2 more."]),
        (WHOLE + "git+https://example.com/x.git\n", [], ["no hash of git+https"]),
        (f"flask==3.1.2 {HASH}\n", [], ["the server's packages gunicorn[gevent]==27.0.1, gevent==26.9.0."]),
        (WHOLE, ["httpbin==0.10.4"], ["flask_app_packages names httpbin==0.10.4"]),
        ("", [], ["the server's packages"]),
    ],
)
def test_what_has_no_hash_is_refused(tmp_path, text, packages, says):
    with pytest.raises(pack.PackError) as refused:
        hashes.refuse_without(files_of(tmp_path, text, require=True), packages, SERVER)
    for part in ("flask_app_require_hashes is true", *says):
        assert part in str(refused.value)


def test_what_a_lock_has_without_a_hash_is_refused_beside_the_projects_of_the_source(tmp_path):
    (tmp_path / "app.txt").write_text(WHOLE)
    (tmp_path / "folders.txt").write_text("${PROJECT_ROOT}\nx @ git+https://h/x@0a1b  # from uv.lock, package x\n")
    files = [tmp_path / "app.txt", tmp_path / "folders.txt"]
    with pytest.raises(pack.PackError, match=r"no hash of x @ git\+https://h/x@0a1b \(uv.lock, package x\)\. "):
        hashes.refuse_without(files, [], SERVER)
    assert "3 of 4 with a hash" in hashes.trusted(files, [], "", "")


def test_a_whole_lock_is_taken_and_the_installer_keeps_to_it(tmp_path):
    (file,) = files_of(tmp_path, WHOLE, require=True)
    hashes.refuse_without([file], [], SERVER)
    assert file.read_text().splitlines()[0] == "--require-hashes"
    # A dependency that the lock does not have: uv, which otherwise checks only the hashes that are there, refuses it.
    file.write_text("--require-hashes\nflask==3.1.2\n")
    uv = Path(sys.executable).with_name("uv")
    done = subprocess.run(
        [uv, "pip", "install", "--offline", "--dry-run", "--no-config", "--python", sys.executable, "-r", file],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode and "all requirements must have a hash" in done.stderr


@pytest.mark.parametrize(
    ("text", "packages", "index", "wheelhouse", "says"),
    [
        (WHOLE, [], "", "", "Packages come from PyPI, with a hash of each."),
        (WHOLE, ["click"], "https://me:pw@example.com/simple", "", "Packages come from https://***@example.com/simple, 3 of 4 with a hash."),
        ("flask\n", [], "https://example.com/simple", "/wheels", "Packages come from the wheelhouse, without hashes."),
        ("", [], "", "", ""),
    ],
)  # fmt: skip
def test_a_deploy_says_what_it_trusts(tmp_path, text, packages, index, wheelhouse, says):
    assert hashes.trusted(files_of(tmp_path, text), packages, index, wheelhouse) == says
