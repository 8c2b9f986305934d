# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Wheels for another Python and another platform, and what an installer says that finds none."""

import hashlib
import shutil
import sys

import pytest

from ansible_collections.pygun.stack.plugins.module_utils import python_env
from ansible_collections.pygun.stack.plugins.plugin_utils import wheels

BOOKWORM = wheels.Target.parse("3.11.2-manylinux_2_36_x86_64")


def locked(name, version, content):
    return wheels.Locked(name, version, frozenset([hashlib.sha256(content).hexdigest()]), "")


def test_a_target_is_written_as_it_is_read():
    assert BOOKWORM.text == "3.11.2-manylinux_2_36_x86_64"
    assert wheels.Target.parse("3.13-manylinux_2_41_aarch64") == wheels.Target("3.13", "aarch64", 41)


@pytest.mark.parametrize(
    "text", ["", "3.11", "3.11-linux_x86_64", "2.7-manylinux_2_5_x86_64", "3.11-musllinux_1_2_x86_64"]
)
def test_what_is_no_target_is_refused_with_an_example(text):
    with pytest.raises(wheels.WheelsError, match="3.11-manylinux_2_36_x86_64"):
        wheels.Target.parse(text)


@pytest.mark.parametrize(
    ("python", "of_app"), [("", "3.11.2"), ("3.13", "3.13"), ("/opt/python/bin/python3", "3.11.2")]
)
def test_a_target_has_the_python_of_the_app(python, of_app):
    target = wheels.Target.parse("3.11.2-manylinux_2_36_x86_64").of_app(python)
    assert target.text == f"{of_app}-manylinux_2_36_x86_64"


def test_a_target_takes_wheels_of_an_older_glibc_and_of_no_platform():
    names = {str(tag) for tag in BOOKWORM.tags()}
    assert {"cp311-cp311-manylinux_2_28_x86_64", "cp39-abi3-manylinux2014_x86_64", "py3-none-any"} <= names
    assert not {"cp312-cp312-manylinux_2_28_x86_64", "cp311-cp311-manylinux_2_39_x86_64"} & names


def test_a_glibc_that_uv_does_not_know_counts_as_the_one_before():
    assert wheels.Target.parse("3.11-manylinux_2_30_x86_64").for_uv == "x86_64-manylinux_2_28"
    assert wheels.Target.parse("3.14-manylinux_2_43_x86_64").for_uv == "x86_64-manylinux_2_40"


def test_a_lock_is_taken_apart():
    lock = (
        "flask==3.1.2 \\\n    --hash=sha256:"
        + "a" * 64
        + " \\\n    --hash=sha256:"
        + "b" * 64
        + "\n# a comment\nZope.Event==6.2\n"
    )
    one, two = wheels.parse_lock(lock)
    assert (one.name, one.version, one.hashes) == ("flask", "3.1.2", {"a" * 64, "b" * 64})
    assert (two.name, two.version) == ("zope-event", "6.2")


def test_a_wheel_counts_if_version_platform_and_hash_fit(tmp_path):
    (tmp_path / "greenlet-3.5-cp311-cp311-manylinux_2_28_x86_64.whl").write_bytes(b"wheel")
    (tmp_path / "not a wheel.whl").write_bytes(b"")
    fitting = BOOKWORM.tags()
    assert wheels.present(tmp_path, locked("greenlet", "3.5", b"wheel"), fitting)
    assert not wheels.present(tmp_path, locked("greenlet", "3.5", b"another"), fitting)
    assert not wheels.present(tmp_path, locked("greenlet", "3.6", b"wheel"), fitting)
    assert not wheels.present(tmp_path, locked("greenlet", "3.5", b"wheel"), wheels.Target("3.12", "x86_64", 36).tags())
    assert not wheels.present(tmp_path / "nowhere", locked("greenlet", "3.5", b"wheel"), fitting)


@pytest.mark.parametrize(
    ("required", "uv"),
    [
        ("no-such-package", True),
        ("no-such-package==1.0", True),
        ("no-such-package==1.0", False),
        pytest.param("no-such-package", False, marks=pytest.mark.full),  # pip makes its environment slowly
    ],
)
def test_an_installer_that_lacks_a_wheel_names_it_and_the_command_that_adds_it(tmp_path, uv, required):
    if uv and not shutil.which("uv"):
        pytest.skip("there is no uv on the path")
    (tmp_path / "wheelhouse").mkdir()
    installer = python_env.Installer(
        uv=shutil.which("uv") if uv else None,
        wheelhouse=str(tmp_path / "wheelhouse"),
        index_url="http://127.0.0.1:9/simple",  # must not be asked
    )
    installer.create(str(tmp_path / "venv"), sys.executable)
    with pytest.raises(python_env.MissingWheel) as caught:
        installer.install(str(tmp_path / "venv"), [required])
    assert f"no {required} for Python 3." in caught.value.cause
    assert "pygun.stack.wheelhouse" in caught.value.remedy
