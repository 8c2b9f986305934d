# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An interpreter that apps cannot run is refused with what hides it."""

import os
import shutil

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.host import interpreter

SYSTEM = os.path.realpath("/usr/bin/python3")
FOLDER = os.path.dirname(SYSTEM)
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="another user is tried")


def test_one_that_everybody_reaches_is_taken():
    assert interpreter.refusal("/usr/bin/python3", {"ProtectHome": "read-only", "PrivateTmp": "true"}) == ""


def test_one_that_is_not_installed_yet_is_taken():
    assert interpreter.refusal("/usr/bin/python3.99", {"ProtectHome": True}) == ""


@pytest.mark.parametrize(
    "sandbox", [{"InaccessiblePaths": f"/none -{FOLDER}"}, {"TemporaryFileSystem": [f"{FOLDER}:ro"]}]
)
def test_one_that_the_unit_hides_is_refused(sandbox):
    said = interpreter.refusal("/usr/bin/python3", sandbox)
    assert f"supervisord's unit hides {FOLDER} from them ({next(iter(sandbox))}=" in said
    assert said.endswith("Nothing was changed.")


@pytest.mark.parametrize(
    ("path", "sandbox", "option"),
    [
        ("/root/py/bin/python3", {"ProtectHome": True}, "ProtectHome"),
        ("/home/me/python3", {"ProtectHome": "tmpfs"}, "ProtectHome"),
        ("/home/me/python3", {"ProtectHome": "read-only"}, ""),
        ("/tmp/python3", {"PrivateTmp": "yes"}, "PrivateTmp"),
        ("/var/tmp/python3", {"PrivateTmp": "no"}, ""),
        ("/homestead/python3", {"ProtectHome": "true"}, ""),
    ],
)
def test_what_the_options_of_the_unit_hide(path, sandbox, option):
    assert option in interpreter._hidden(path, sandbox)
    assert bool(interpreter._hidden(path, sandbox)) == bool(option)


@needs_root
@pytest.mark.parametrize("linked", [False, True])
def test_one_in_a_closed_folder_is_refused_by_name(tmp_path, linked):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    python = shutil.copy(SYSTEM, folder / "python3")
    for place in (tmp_path, *list(tmp_path.parents)[:-2]):
        place.chmod(0o755)
    if linked:
        (tmp_path / "python3").symlink_to(python)
        python = tmp_path / "python3"
    said = interpreter.refusal(str(python), {})
    assert f"may not enter {folder} (root:root 0700)" in said
    assert "UV_PYTHON_INSTALL_DIR" in said


@needs_root
def test_one_whose_library_is_closed_is_refused_with_its_own_words(tmp_path):
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\necho Could not find the library >&2\nexit 1\n")
    python.chmod(0o755)
    for place in (tmp_path, *list(tmp_path.parents)[:-2]):
        place.chmod(0o755)
    assert "another user than root is told: Could not find the library" in interpreter.refusal(str(python), {})
