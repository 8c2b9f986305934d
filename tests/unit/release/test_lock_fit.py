# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A lock lacks what no host of its project would need, and names files and formats that only its own tool knows."""

from __future__ import annotations

import json

import pytest

from ansible_collections.pygun.stack.plugins.plugin_utils import pack
from tests.unit.release.test_requirement_forms import BUILD, read

UV = """
version = 1
requires-python = ">=3.11"
[[package]]
name = "app"
version = "1"
source = { virtual = "." }
dependencies = [{ name = "x" }]
[[package]]
name = "x"
version = "2.0"
source = { registry = "https://pypi.org/simple" }
wheels = [{ url = "https://h/x.whl", hash = "sha256:00" }]
"""
POETRY = "[[package]]\nname = 'x'\nversion = '2.0'\ngroups = ['main']\n[metadata]\nlock-version = '2.1'\npython-versions = '^3.9'\n"
PYLOCK = "lock-version = '1.0'\n[[packages]]\nname = 'x'\nversion = '2.0'\n[[packages.wheels]]\n"
PDM = "[metadata]\nlock_version = '4.5.0'\nstrategy = ['inherit_metadata']\n[[package]]\nname = 'x'\nversion = '2.0'\ngroups = ['default']\n"
PIPFILE = {"_meta": {"pipfile-spec": 6}, "default": {"x": {"version": "==2.0", "hashes": ["sha256:00"]}}}


def project(*dependencies, python=">=3.11"):
    return f"[project]\nname = 'app'\nrequires-python = '{python}'\ndependencies = {list(dependencies)}\n"


def poetry(dependencies):
    return f"[tool.poetry]\nname = 'app'\n[tool.poetry.dependencies]\npython = '^3.9'\n{dependencies}\n"


#: Files of a project, and whether its lock fits: each tool leaves out of it what none of the project's Pythons needs.
FITS = {
    "for an older Python": (
        {"uv.lock": UV, "pyproject.toml": project("x", "tomli; python_version < '3.11'", "y; python_full_version <= '3.10.4'")},
        True,
    ),
    "for a Python of the project": ({"uv.lock": UV, "pyproject.toml": project("x", "y; python_version >= '3.12'")}, False),
    "for the last part of a version": (
        {"uv.lock": UV, "pyproject.toml": project("x", "y; python_full_version < '3.11.4'")},
        False,
    ),
    "for a Python that the project excludes": (
        {"uv.lock": UV, "pyproject.toml": project("x", "y; python_version > '3.12'", python=">=3.11,<3.13")},
        True,
    ),
    "for one of two systems": (
        {"uv.lock": UV, "pyproject.toml": project("x", "y; sys_platform == 'win32' or python_version < '3.9'")},
        True,
    ),
    "several versions of Poetry": (
        {"poetry.lock": POETRY, "pyproject.toml": poetry("x = [{version='1.*', python='<3.9'}, {version='^2', python='>=3.9'}]")},
        True,
    ),
    "no version of several": (
        {"poetry.lock": POETRY, "pyproject.toml": poetry("x = [{version='1.*', python='<3.12'}, {version='^3', python='>=3.12'}]")},
        False,
    ),
    "a Python of Poetry": (
        {"poetry.lock": POETRY, "pyproject.toml": poetry("x = '^2'\ny = {version='*', python='<3.9'}\nz = {version='*', platform='win32'}")},
        True,
    ),
    "a system of Pipenv": (
        {"Pipfile.lock": json.dumps(PIPFILE), "Pipfile": "[packages]\nx = '*'\ny = {version = '*', sys_platform = \"== 'win32'\"}\n"},
        True,
    ),
    "what uv overrides and excludes": (
        {"uv.lock": UV + "[manifest]\noverrides = [{name = 'x', specifier = '==2.0'}]\nexcludes = ['y']\n", "pyproject.toml": project("x>=3", "y")},
        True,
    ),
    "what a project overrides and excludes, in an exported lock": (
        {"pylock.toml": PYLOCK, "pyproject.toml": project("x>=3", "y")
         + "[tool.uv]\noverride-dependencies = ['X==2.0']\nexclude-dependencies = ['y']\n"},
        True,
    ),
    "what PDM overrides and excludes": (
        {"pdm.lock": PDM, "pyproject.toml": project("x>=3", "y")
         + "[tool.pdm.resolution]\nexcludes = ['y']\n[tool.pdm.resolution.overrides]\nx = '2.0'\n"},
        True,
    ),
    "what PDM does not override": ({"pdm.lock": PDM, "pyproject.toml": project("x>=3")}, False),
    "a Python of Pipenv": (
        {"Pipfile.lock": json.dumps(PIPFILE), "Pipfile": "[packages]\nx = '*'\ny = {version = '*', python_version = \">= '3.11'\"}\n"},
        False,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("files", "fits"), FITS.values(), ids=FITS)
def test_a_lock_need_not_have_what_no_host_can_need(tmp_path, files, fits):
    if fits:
        assert [line for line in read(tmp_path, files)[0]["locked.txt"] if line.startswith("x==2.0")]
    else:
        with pytest.raises(pack.PackError, match="the lock is older"):
            read(tmp_path, files)


def test_a_package_of_another_system_in_a_lock_of_poetry_1_is_for_no_host(tmp_path):
    lock = "".join(f"[[package]]\nname = '{name}'\nversion = '2.0'\n" for name in ("x", "pywin32", "uvloop"))
    files = {
        "poetry.lock": f"{lock}[metadata]\nlock-version = '2.0'\npython-versions = '^3.9'\n",
        "pyproject.toml": poetry(
            "x = '*'\npywin32 = {version='*', platform='win32'}\nuvloop = {version='*', platform='linux'}"
        ),
    }
    assert read(tmp_path, files)[0]["locked.txt"] == ["# requires-python: >=3.9,<4", "uvloop==2.0", "x==2.0"]


WHEEL = {"wheels/x-2.0-py3-none-any.whl": ""}


@pytest.mark.parametrize(
    "files",
    [
        {"uv.lock": UV.replace("https://pypi.org/simple", "wheels"), "pyproject.toml": project("x")},
        {"pylock.toml": PYLOCK + "path = 'wheels/x-2.0-py3-none-any.whl'\nhashes = {sha256 = '00'}\n"},
    ],
    ids=["uv", "the standard"],
)
def test_wheels_in_the_source_are_looked_for_in_the_release(tmp_path, files):
    found = read(tmp_path, {**files, **WHEEL})[0]["locked.txt"]
    assert found[-2:] == ["--find-links ${PROJECT_ROOT}/wheels", "x==2.0 --hash=sha256:00"]


def test_a_project_in_a_folder_of_a_directory_is_found_there(tmp_path):
    lock = "lock-version = '1.0'\n[[packages]]\nname = 'x'\ndirectory = {path = 'mono', subdirectory = 'lib'}\n"
    found = read(tmp_path, {"pylock.toml": lock, "mono/lib/pyproject.toml": BUILD})[0]["folders.txt"]
    assert found == ["x @ file://${PROJECT_ROOT}/mono/lib"]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"uv.lock": UV.replace("version = 1", "version = 2", 1), "pyproject.toml": BUILD}, "uv.lock has format 2"),
        ({"poetry.lock": POETRY.replace("2.1", "3.0")}, "poetry.lock has format 3.0"),
        ({"pylock.toml": PYLOCK.replace("1.0", "2.0")}, "pylock.toml has format 2.0"),
        ({"pdm.lock": "[metadata]\nlock_version = '5.0'\n"}, "pdm.lock has format 5.0"),
        ({"Pipfile.lock": json.dumps({**PIPFILE, "_meta": {"pipfile-spec": 7}})}, "Pipfile.lock has format 7"),
        (
            {
                "Pipfile.lock": json.dumps(
                    {**PIPFILE, "_meta": {"sources": [{"name": "own", "url": "https://me:$PASS@h/simple"}]}}
                )
            },
            "https://***@h/simple, whose address has a variable",
        ),
    ],
)
def test_what_only_its_tool_could_read_is_refused(tmp_path, files, says):
    with pytest.raises(pack.PackError) as caught:
        read(tmp_path, files)
    assert says in str(caught.value)
    assert "requirements.txt" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[project]\nname = 'a'\ndependencies = 'flask'\n", "project.dependencies is no list of texts"),
        ("[project]\nname = 'a'\n[project.dependencies]\nflask = '*'\n", "project.dependencies is no list of texts"),
        ("project = 'a'\n", "project is no table"),
        ("[dependency-groups]\nprod = 'flask'\n", "dependency-groups.prod is no list of texts"),
        ("[tool.poetry]\nname = 'a'\ndependencies = ['flask']\n", "tool.poetry.dependencies is no table"),
        ("[project]\nname = 'a'\noptional-dependencies = ['flask']\n", "project.optional-dependencies is no table"),
    ],
)
def test_a_text_is_never_read_as_a_list_of_its_letters(tmp_path, text, says):
    with pytest.raises(pack.PackError, match=rf"pyproject\.toml, {says}\. Write"):
        read(tmp_path, {"pyproject.toml": text})


RYE = {"requirements.lock": "-e file:.\nx==2.0\n", "requirements-dev.lock": "y==1\n", "pyproject.toml": BUILD}


@pytest.mark.parametrize(
    ("files", "was_read"),
    [
        (RYE, ["requirements.lock"]),
        ({"pylock.dev.toml": PYLOCK, "pyproject.toml": project("x")}, ["pyproject.toml"]),
        ({"pylock.web.toml": PYLOCK, "pyproject.toml": project("x")}, ["pylock.web.toml (frozen"]),
        ({"pylock.web.toml": PYLOCK, "uv.lock": UV, "pyproject.toml": project("x")}, ["uv.lock (frozen"]),
    ],
)
def test_the_lock_of_the_whole_project_comes_first(tmp_path, files, was_read):
    found = [text.partition(":")[0] for text in read(tmp_path, files)[1].read]
    assert found == was_read
