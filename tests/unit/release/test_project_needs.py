# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a project says of its packages where only its tool or its build reads it is checked before anything is sent."""

from __future__ import annotations

import pytest

from ansible_collections.pygun.stack.plugins.plugin_utils import needs, pack
from tests.unit.release.test_requirement_forms import BUILD, ROOT, read

NAMED = "[project]\nname = 'x'\nversion = '1'\n"
HATCH = "[build-system]\nrequires = ['hatchling']\nbuild-backend = 'hatchling.build'\n"
SOURCES = BUILD + NAMED + "dependencies = ['common']\n[tool.uv.sources]\n"
POETRY = "[tool.poetry]\nname = 'x'\n[build-system]\nrequires = ['poetry-core']\n[tool.poetry.dependencies]\npython = '^3.11'\n"
LOCK = "[[package]]\nname = 'flask'\nversion = '3.1'\ngroups = ['main']\n[metadata]\nlock-version = '2.1'\npython-versions = '^3.11'\n"
REFUSED = {
    "a dependency that is none": (BUILD + NAMED + "dependencies = ['flask ^3']\n", "project.dependencies is 'flask ^3'"),
    "a path of another machine": (BUILD + NAMED + "dependencies = ['c @ file:///home/me/c']\n", "a path of the machine that wrote it"),
    "a package of Windows": (BUILD + NAMED + "dependencies = ['pywin32==306']\n", "for Windows only"),
    "a path of Poetry's": (POETRY + "common = {path = '../common', develop = true}\n", "tool.poetry.dependencies names ../common"),
    "a path of uv's": (SOURCES + "common = {path = 'libs/common'}\n", "tool.uv.sources names libs/common"),
    "an index of uv's": (SOURCES + "common = {index = 'own'}\n", "says where common comes from"),
    "an index of uv's for Linux": (SOURCES + "common = [{index = 'own', marker = \"sys_platform == 'linux'\"}]\n", "says where common comes from"),
    "a workspace without its root": (SOURCES + "common = {workspace = true}\n", "name its root in flask_app_src"),
    "a missing readme": (HATCH + NAMED + "readme = 'README.md'\n", "project.readme names 'README.md', and there is no such file"),
    "a missing license": (HATCH + NAMED + "license = {file = 'LICENSE'}\n", "project.license names 'LICENSE'"),
    "a missing file of Hatch": (
        HATCH + NAMED + "dynamic = ['dependencies']\n[tool.hatch.metadata.hooks.requirements_txt]\nfiles = ['r.txt']\n",
        "requirements_txt names 'r.txt'",
    ),
    "environments of Hatch": ("[tool.hatch.envs.default]\ndependencies = ['flask']\n", "environments of Hatch only"),
    "no package of Poetry's": (
        NAMED + "dynamic = ['dependencies']\n[tool.poetry]\npackage-mode = false\n[build-system]\nrequires = ['poetry-core']\n",
        "`poetry lock`",
    ),
    "an index that is no table": (NAMED + "[tool.uv.index]\nurl = 'https://h/simple'\n", "Write each as [[tool.uv.index]]"),
    "a group's entry that is none": (NAMED + "[dependency-groups]\nprod = [{include_group = 'b'}]\n", 'Write a text, or {include-group = "NAME"}'),
}  # fmt: skip


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED)
def test_a_project_that_can_only_fail_is_refused(tmp_path, text, says):
    with pytest.raises(pack.PackError) as caught:
        read(tmp_path, {"pyproject.toml": text}, extras=["prod"] if "groups]" in text else [])
    assert "pyproject.toml" in str(caught.value)
    assert says in str(caught.value)


WEB = NAMED + "dependencies = ['flask']\n"
SETUP = "from flask import Blueprint\nsetup = Blueprint('setup', __name__)\n"
LIB = {"libs/common/pyproject.toml": BUILD, "libs/common/common.py": ""}
READ = {
    "requirements that only refer to it": ({"requirements.txt": "# see pyproject.toml\n", "pyproject.toml": WEB}, {"app.txt": ["flask"]}),
    "requirements that are empty": ({"requirements.txt": "\n", "pyproject.toml": WEB}, {}),
    "requirements alone that name nothing": ({"requirements.txt": "# none\n"}, {}),
    "a module of the app called setup": ({"setup.py": SETUP}, {}),
    "the same beside requirements in src layout": (
        {"setup.py": SETUP, "requirements.txt": "flask\n", "src/app/__init__.py": ""},
        {"app.txt": ["flask"]},
    ),
    "no package by uv's word": ({"pyproject.toml": WEB + BUILD + "[tool.uv]\npackage = false\n", "src/a/__init__.py": ""}, {"app.txt": ["flask"]}),
    "a package by uv's word": ({"pyproject.toml": WEB + "[tool.uv]\npackage = true\n"}, {"folders.txt": [ROOT]}),
    "no package by Poetry's word": ({"pyproject.toml": WEB + BUILD + "[tool.poetry]\npackage-mode = false\n"}, {"app.txt": ["flask"]}),
    "a folder of the source": ({"pyproject.toml": SOURCES + "common = {path = 'libs/common'}\n", **LIB}, {"folders.txt": [ROOT]}),
    "a path that the build puts in": ({"pyproject.toml": HATCH + NAMED + "dependencies = ['c @ {root:uri}/c']\n"}, {"folders.txt": [ROOT]}),
    "an index for another system": (
        {"pyproject.toml": SOURCES + "common = [{index = 'own', marker = \"sys_platform == 'darwin'\"}]\n"},
        {"folders.txt": [ROOT]},
    ),
    "a readme of setuptools": ({"pyproject.toml": BUILD + NAMED + "readme = 'README.md'\n"}, {"folders.txt": [ROOT]}),
    "a readme": ({"pyproject.toml": HATCH + NAMED + "readme = './README.md'\n", "README.md": ""}, {"folders.txt": [ROOT]}),
    "environments of Hatch for tests": ({"pyproject.toml": "[tool.hatch.envs.test]\ndependencies = ['pytest']\n"}, {}),
}  # fmt: skip


@pytest.mark.parametrize(("files", "lines"), READ.values(), ids=READ)
def test_a_project_is_read_by_the_rules_of_its_tool(tmp_path, files, lines):
    assert read(tmp_path, files)[0] == lines


INDEX = "[[tool.uv.index]]\nurl = 'https://me:s3cret@mirror/simple'\ndefault = true\n"


@pytest.mark.parametrize(
    ("files", "given", "says"),
    [
        ({"pyproject.toml": NAMED}, [], "Packages are those of pyproject.toml: none."),
        ({"pyproject.toml": WEB + INDEX}, [], "The index https://***@mirror/simple of pyproject.toml is not asked"),
        (
            {"pyproject.toml": WEB, "uv.lock": "", ".gitignore": "*.lock\n"},
            [],
            "uv.lock is not read, since it is left out of the release",
        ),
        (
            {"requirements.txt": "flask\n", ".gitignore": "*.txt\n"},
            [],
            "requirements.txt is not read, since it is left",
        ),
        (
            {"pyproject.toml": POETRY, "poetry.lock": LOCK},
            ["pyproject.toml"],
            "poetry.lock is not read, since flask_app_requirements names pyproject.toml",
        ),
    ],
)
def test_what_is_not_read_is_said(tmp_path, files, given, says):
    assert says in " ".join(read(tmp_path, files, given)[1].notes())


PYTHON = NAMED + "requires-python = '>=3.12'\n"


@pytest.mark.parametrize(
    ("files", "places"),
    [
        (
            {"pyproject.toml": PYTHON + "dependencies = ['flask']\n"},
            [("pyproject.toml, project.requires-python", ">=3.12")],
        ),
        ({"pyproject.toml": PYTHON + HATCH}, [("pyproject.toml, project.requires-python", ">=3.12")]),
        ({"pyproject.toml": POETRY}, [("pyproject.toml, tool.poetry.dependencies", ">=3.11,<4")]),
        ({"pyproject.toml": POETRY, "poetry.lock": LOCK}, [("poetry.lock", ">=3.11,<4")]),
        ({"pyproject.toml": PYTHON, "requirements.txt": "flask\n"}, []),
    ],
)
def test_the_python_that_a_source_is_for_is_known_before_anything_is_sent(tmp_path, files, places):
    found = read(tmp_path, files)[1].pythons
    assert [(where.rpartition("/")[2], specifier) for where, specifier in found] == places


def test_a_lock_beside_a_project_of_poetry_is_not_called_missing(tmp_path):
    files = {"pyproject.toml": POETRY.replace("[build-system]\nrequires = ['poetry-core']\n", ""), "poetry.lock": LOCK}
    with pytest.raises(pack.PackError, match=r"its poetry\.lock was not named\. Name it in flask_app_requirements"):
        read(tmp_path, files, ["pyproject.toml"])


def test_each_file_is_parsed_once(tmp_path, monkeypatch):
    """A lock of some hundred packages takes most of the time in which a source is read."""
    parsed, loads = [], needs.tomllib.loads
    monkeypatch.setattr(needs.tomllib, "loads", lambda text: parsed.append(text) or loads(text))
    read(tmp_path, {"pyproject.toml": POETRY + "flask = '^3'\n", "poetry.lock": LOCK, "src/x/__init__.py": ""})
    assert len(parsed) == 2
