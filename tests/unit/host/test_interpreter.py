# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The interpreter of an app is found by its version; one that apps cannot run is refused with what hides it."""

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
    assert "it fails for users other than root: Could not find the library" in interpreter.refusal(str(python), {})


def python_of(path, version):
    """A file that is called as an interpreter is, and says the version when it is asked for its age."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho it is Python {version}, and 3.11 or later is needed >&2\nexit 1\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture(name="places")
def places_fixture(tmp_path, monkeypatch):
    monkeypatch.setattr(interpreter, "_PLACES", (f"{tmp_path}/usr", f"{tmp_path}/opt/*/bin"))
    for place in (tmp_path, *list(tmp_path.parents)[:-2]):
        place.chmod(0o755)
    return {
        "3.12": python_of(tmp_path / "usr" / "python3.12", "3.12"),
        "3.9": python_of(tmp_path / "usr" / "python3.9", "3.9"),
        "3.13": python_of(tmp_path / "opt" / "cpython-3.13" / "bin" / "python3.13", "3.13"),
    }


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_a_version_is_found_where_interpreters_are(places, version):
    assert interpreter.choose(version, SYSTEM) == places[version]


def test_the_hosts_own_wins_if_it_is_of_that_version(places, tmp_path):
    own = python_of(tmp_path / "mine" / "python3.12", "3.12")
    link = tmp_path / "mine" / "python3"
    link.symlink_to(own)
    assert interpreter.choose("3.12", str(link)) == str(link)
    assert interpreter.choose("", str(link)) == str(link)
    assert interpreter.choose("/some/python", str(link)) == "/some/python"


def test_a_version_that_the_host_lacks_is_refused_with_those_it_has(places):
    with pytest.raises(interpreter.NoInterpreter) as refused:
        interpreter.choose("3.14", places["3.13"])
    assert (
        "flask_app_python is 3.14, and this host has no such Python. It has:"
        f" 3.13 ({places['3.13']}), 3.9 ({places['3.9']}), 3.12 ({places['3.12']})."
    ) in str(refused.value)
    assert "python3.14-venv" in str(refused.value)


@pytest.mark.usefixtures("places")
def test_what_a_missing_package_may_bring_is_not_refused_yet():
    assert "no such Python" in interpreter.refusal_of_app("3.14", SYSTEM, {}, ["ffmpeg"])
    assert interpreter.refusal_of_app("3.14", SYSTEM, {}, ["python3.14-venv"]) == ""
    assert "no such file" in interpreter.refusal_of_app("/usr/bin/python3.99", SYSTEM, {}, [])
    assert interpreter.refusal_of_app("/usr/bin/python3.99", SYSTEM, {}, ["python3.99"]) == ""
    assert interpreter.refusal_of_app(SYSTEM, "/usr/bin/python3", {}, []) == ""


@needs_root
def test_one_that_is_too_old_is_refused(places):
    said = interpreter.refusal_of_app("3.9", SYSTEM, {}, [])
    assert said.startswith(
        f"flask_app_python is {places['3.9']}, and apps cannot run it: it is Python 3.9, and 3.11 or later"
    )
