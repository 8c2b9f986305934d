# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is in a virtual environment, and how requirements are read."""

import sys

import pytest

from ansible_collections.pygun.stack.plugins.module_utils import python_env, resolved, virtual_env
from ansible_collections.pygun.stack.plugins.module_utils.host.build_account import InstallError


@pytest.fixture
def venv(tmp_path):
    path = tmp_path / "venv"
    packages = path / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    for name in ("supervisor-4.3.0", "zope.interface-8.7", "Flask_Admin-2.0"):
        (packages / f"{name}.dist-info").mkdir()
    (path / "bin").mkdir()
    (path / "bin" / "python").symlink_to(sys.executable)
    (path / "pyvenv.cfg").write_text("home = /usr/bin\nversion_info = 3.11.2\n")
    return path


@pytest.mark.parametrize(("most", "stays"), [("1KB", False), ("1MB", True), ("0", True)])
def test_a_cache_that_is_larger_than_it_may_be_is_emptied(tmp_path, most, stays):
    wheel = tmp_path / "cache" / "pip" / "wheel"
    wheel.parent.mkdir(parents=True)
    wheel.write_bytes(b"x" * 50_000)
    python_env.Installer(cache_dir=str(tmp_path / "cache"), cache_max=most).tidy_cache()
    assert wheel.exists() == stays


@pytest.mark.parametrize(
    ("requirement", "name", "version"),
    [
        ("gunicorn==27.0.1", "gunicorn", "27.0.1"),
        ("gunicorn[fast]==27.0.1", "gunicorn", "27.0.1"),
        ("Flask_Login >= 3", "flask-login", None),
        ("zope.interface", "zope-interface", None),
        ("numpy==2.1 ; python_version < '3.13'", "numpy", "2.1"),
        ("own @ https://host/own-1.0-py3-none-any.whl", "own", None),
        ("https://host/own-1.0-py3-none-any.whl", None, None),
        ("-r other.txt", None, None),
    ],
)
def test_a_requirement_is_taken_apart(requirement, name, version):
    assert virtual_env.requirement_name(requirement) == name
    assert virtual_env.pinned_version(requirement) == version


def test_what_is_installed_is_read_from_the_environment(venv):
    assert virtual_env.installed(venv) == {"supervisor": "4.3.0", "zope-interface": "8.7", "flask-admin": "2.0"}


def test_a_missing_or_otherwise_pinned_requirement_is_lacking(venv):
    asked = ["supervisor==4.3.0", "zope.interface==8.0", "superlance", "flask-admin"]
    assert virtual_env.lacking(venv, asked) == ["zope.interface==8.0", "superlance"]


def test_an_environment_whose_interpreter_is_gone_is_not_usable(venv):
    assert virtual_env.made_from(venv) == "3.11.2"
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").symlink_to(venv / "nowhere")
    assert virtual_env.made_from(venv) is None


def test_packages_are_shared_within_a_minor_version_only():
    assert virtual_env.same_minor("3.11.2", "3.11.9")
    assert not virtual_env.same_minor("3.11.2", "3.12.0")
    assert not virtual_env.same_minor(None, "3.11.2")


def test_an_installer_that_fails_says_why_and_hides_the_password_of_the_index(tmp_path):
    installer = python_env.Installer(index_url="http://me:s3cret@127.0.0.1:9/simple", extra_args=["--retries=0"])
    installer.create(str(tmp_path / "venv"), sys.executable)
    with pytest.raises(python_env.InstallError) as caught:
        installer.install(str(tmp_path / "venv"), ["no-such-package"])
    assert "no-such-package" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_the_version_of_the_interpreter_that_runs_this_is_what_it_says_itself(tmp_path):
    by_another_name = tmp_path / "python3"
    by_another_name.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    by_another_name.chmod(0o755)
    assert virtual_env.python_version(sys.executable) == virtual_env.python_version(str(by_another_name))
    assert virtual_env.python_version(str(tmp_path / "none")) is None


def test_a_report_that_a_package_has_written_over_is_refused(tmp_path):
    """What is built while pip resolves runs as the same account."""
    report = tmp_path / "report.json"
    for content in ("[" * 60_000, '{"install": ' + "[" * 60_000, "{}", '{"install": [7]}', "\xff"):
        report.write_text(content)
        with pytest.raises(InstallError, match="cannot be read"):
            resolved.chosen_by_pip(str(report))
