# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the text of requirement files says against an installation on a host."""

from __future__ import annotations

import pytest

from ansible_collections.pygun.stack.plugins.module_utils import python_env
from ansible_collections.pygun.stack.plugins.module_utils.release import installable, requirement_lines

HOST = ("3.11.2", "manylinux_2_36_x86_64")


@pytest.mark.parametrize(
    ("tags", "fits"),
    [
        ("py3-none-any", True),
        ("py2.py3-none-any", True),
        ("py2-none-any", False),
        ("py311-none-any", True),
        ("py312-none-any", False),
        ("cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64", True),
        ("cp311-none-any", True),
        ("cp310-cp310-manylinux_2_17_x86_64", False),
        ("cp313-cp313-manylinux_2_17_x86_64", False),
        ("cp311-cp311t-manylinux_2_17_x86_64", False),
        ("cp39-abi3-manylinux1_x86_64", True),
        ("cp312-abi3-manylinux_2_28_x86_64", False),
        ("pp311-pypy311_pp73-manylinux_2_17_x86_64", False),
        ("cp311-cp311-manylinux_2_39_x86_64", False),
        ("cp311-cp311-manylinux_2_17_aarch64", False),
        ("cp311-cp311-musllinux_1_2_x86_64", False),
        ("cp311-cp311-linux_x86_64", True),
        ("cp311-cp311-macosx_11_0_arm64", False),
    ],
)
@pytest.mark.parametrize(
    "form", ["${PROJECT_ROOT}/wheels/x-1.0-{}.whl", "x @ https://h/x-1.0-2-{}.whl --hash=sha256:00"]
)
def test_a_wheel_is_for_this_host_or_refused_by_name(tags, fits, form):
    found = installable.wheel_refusal(form.replace("{}", tags), *HOST)
    assert found == "" if fits else found.endswith(f"{tags}.whl") and found.startswith("x-1.0-")


def test_a_wheel_with_a_marker_may_be_for_others():
    assert installable.wheel_refusal("x @ https://h/x-1.0-cp313-cp313-win32.whl ; sys_platform == 'win32'", *HOST) == ""


@pytest.mark.parametrize(
    ("specifier", "fits"),
    [
        (">=3.9", True),
        (">=3.11,<3.12", True),
        (">=3.11.3", False),
        ("==3.11.*", True),
        ("==3.13.*", False),
        ("!=3.11.*,>=3.9", False),
        ("~=3.10", True),
        ("~=3.10.0", False),
        (">3.11", True),
        ("<=3.11", False),
        ("<4", True),
        ("===3.11.2", True),
        ("", True),
        ("something new", True),
    ],
)
def test_a_lock_says_for_which_python_it_is(tmp_path, specifier, fits):
    file = tmp_path / requirement_lines.LOCKED
    file.write_text(requirement_lines.note("requires-python", specifier or "*", "uv.lock") + "\nflask==3.1.3\n")
    if fits:
        installable.check([str(file)], [], *HOST)
    else:
        with pytest.raises(python_env.InstallError) as caught:
            installable.check([str(file)], [], *HOST)
        assert caught.value.cause == f"uv.lock is for Python {specifier}, and this host installs for Python 3.11.2."


def test_a_source_for_another_python_is_refused_with_the_place_that_says_so():
    places = [("pyproject.toml, project.requires-python", ">=3.11"), ("uv.lock", ">=3.12,<4")]
    assert installable.python_refusal(places, "3.12.1") == ""
    assert installable.python_refusal(places, "3.11.2").startswith("uv.lock is for Python >=3.12,<4, and this host")


def test_pip_refuses_the_overrides_of_a_lock(tmp_path):
    file = tmp_path / requirement_lines.LOCKED
    file.write_text(requirement_lines.note("override", "werkzeug==3.0.6", "uv.lock"))
    installable.check([str(file)], [], *HOST, uv=True)
    with pytest.raises(python_env.InstallError) as caught:
        installable.check([str(file)], [], *HOST, uv=False)
    assert caught.value.cause == "uv.lock has the override werkzeug==3.0.6, which pip cannot follow."


@pytest.mark.parametrize(("name", "wanted"), [("locked.txt", True), ("app.txt", False)])
def test_all_indexes_are_asked_for_what_a_lock_has_from_several(tmp_path, name, wanted):
    (tmp_path / name).write_text("--extra-index-url https://h/simple\nflask==3.1.3\n")
    assert bool(installable.environment_for([str(tmp_path / name)])) is wanted


def test_uv_is_told_what_it_does_not_read_in_a_requirement_file(tmp_path):
    file = tmp_path / "app.txt"
    file.write_text("--trusted-host a.example\n--trusted-host=b.example:80\n--pre\nx\n")
    assert installable.environment_for([str(file)]) == {
        "UV_INSECURE_HOST": "a.example b.example:80",
        "UV_PRERELEASE": "allow",
    }
    file.write_text("x --hash=sha256:00\n")
    assert installable.environment_for([str(file)]) == {}


def test_an_option_that_only_pip_takes_is_refused_for_uv(tmp_path):
    file = tmp_path / "app.txt"
    file.write_text("x --config-settings=a=b  # from requirements.txt, line 3\n")
    installable.check([str(file)], [], *HOST, uv=False)
    with pytest.raises(python_env.InstallError) as caught:
        installable.check([str(file)], [], *HOST)
    assert caught.value.cause.startswith("requirements.txt, line 3 has --config-settings")
    assert "flask_app_installer: pip" in caught.value.remedy
