# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lock files are read as their own tools install them; the texts here have the form in which those write them."""

from __future__ import annotations

import json

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.release import requirement_lines
from ansible_collections.pygun.stack.plugins.plugin_utils import needs, pack
from tests.unit.release.test_requirement_forms import BUILD, ROOT, read

PYPI = 'source = { registry = "https://pypi.org/simple" }'
UV = f"""
version = 1
revision = 3
requires-python = ">=3.11"
conflicts = [[{{ package = "app", extra = "new" }}, {{ package = "app", extra = "old" }}]]

[[package]]
name = "app"
version = "1"
source = {{ virtual = "." }}
dependencies = [
    {{ name = "common" }},
    {{ name = "flask", extra = ["async"] }},
    {{ name = "mylib" }},
    {{ name = "numpy", version = "1.26.4", {PYPI}, marker = "python_full_version < '3.12'" }},
    {{ name = "numpy", version = "2.4.0", {PYPI}, marker = "python_full_version >= '3.12'" }},
    {{ name = "old", version = "1.0", {PYPI}, marker = "extra == 'extra-3-app-old'" }},
    {{ name = "old", version = "2.0", {PYPI}, marker = "extra == 'extra-3-app-new' or extra != 'extra-3-app-old'" }},
    {{ name = "pywin32", marker = "sys_platform == 'win32'" }},
]
[package.optional-dependencies]
all = [{{ name = "app", extra = ["cache"] }}]
cache = [{{ name = "redis" }}]
[package.dev-dependencies]
dev = [{{ name = "pytest" }}]
prod = [{{ name = "torch" }}]
[package.metadata]
provides-extras = ["all", "cache", "new", "old"]

[[package]]
name = "asgiref"
version = "3.8"
{PYPI}
dependencies = [{{ name = "colorama", marker = "python_full_version < '3.12'" }}]
wheels = [{{ url = "https://h/asgiref.whl", hash = "sha256:a5" }}]
[[package]]
name = "colorama"
version = "0.4"
{PYPI}
dependencies = [{{ name = "asgiref" }}]
wheels = [{{ url = "https://h/colorama.whl", hash = "sha256:c0" }}]
[[package]]
name = "common"
version = "1"
source = {{ editable = "libs/common" }}
dependencies = [{{ name = "mylib" }}]
[[package]]
name = "flask"
version = "3.1.3"
{PYPI}
sdist = {{ url = "https://h/flask.tar.gz", hash = "sha256:f2" }}
wheels = [{{ url = "https://h/flask.whl", hash = "sha256:f1" }}]
[package.optional-dependencies]
async = [{{ name = "asgiref" }}]
[[package]]
name = "mylib"
version = "0.3"
source = {{ git = "https://h/team/mylib?subdirectory=py%20lib&tag=v1#32bbce84" }}
[[package]]
name = "numpy"
version = "1.26.4"
{PYPI}
wheels = [{{ url = "https://h/numpy1.whl", hash = "sha256:11" }}]
[[package]]
name = "numpy"
version = "2.4.0"
{PYPI}
wheels = [{{ url = "https://h/numpy2.whl", hash = "sha256:22" }}]
[[package]]
name = "old"
version = "1.0"
{PYPI}
wheels = [{{ url = "https://h/old1.whl", hash = "sha256:01" }}]
[[package]]
name = "old"
version = "2.0"
{PYPI}
wheels = [{{ url = "https://h/old2.whl", hash = "sha256:02" }}]
[[package]]
name = "pywin32"
version = "306"
{PYPI}
wheels = [{{ url = "https://h/pywin32.whl", hash = "sha256:33" }}]
[[package]]
name = "redis"
version = "5.0"
source = {{ url = "https://h/redis-5.0.tar.gz" }}
sdist = {{ hash = "sha256:55" }}
[[package]]
name = "torch"
version = "2.5+cpu"
source = {{ registry = "https://download.pytorch.org/whl/cpu" }}
wheels = [{{ url = "https://h/torch.whl", hash = "sha256:77" }}]
[[package]]
name = "api"
version = "1"
source = {{ virtual = "services/api" }}
dependencies = [{{ name = "asgiref" }}]
"""
WORKSPACE = {
    "uv.lock": UV,
    "pyproject.toml": "[project]\nname = 'app'\ndependencies = ['Flask[async] >=3,<4', 'common', 'pywin32; sys_platform == \"win32\"']\n",
    "libs/common/pyproject.toml": BUILD + "[project]\nname = 'common'\n",
    "services/api/pyproject.toml": "[project]\nname = 'api'\ndependencies = ['asgiref']\n",
}
FROM_312 = "python_full_version >= '3.12'"
OF_APP = [
    "asgiref==3.8 --hash=sha256:a5",
    "colorama==0.4 ; python_full_version < '3.12' --hash=sha256:c0",
    "flask==3.1.3 --hash=sha256:f1 --hash=sha256:f2",
    "numpy==1.26.4 ; python_full_version < '3.12' --hash=sha256:11",
    f"numpy==2.4.0 ; {FROM_312} --hash=sha256:22",
]
LISTED = [f"common @ file://{ROOT}/libs/common", "mylib @ git+https://h/team/mylib@32bbce84#subdirectory=py%20lib"]


def locked(tmp_path, files, **options):
    """Lines of the lock, lines without hashes, and what was said."""
    found, needed = read(tmp_path, files, **options)
    assert needed.paths[0] == "requirements/locked.txt"
    lines = [line for line in found["locked.txt"] if not line.startswith("# ")]
    return lines, found.get("folders.txt", []), needed


def test_a_uv_lock_is_read_as_uv_installs_it(tmp_path):
    lines, folders, needed = locked(tmp_path, WORKSPACE)
    assert lines == sorted([*OF_APP, "old==2.0 --hash=sha256:02"])
    assert folders == LISTED
    assert needed.notes() == ["Packages are those of uv.lock (frozen: 8 packages, 6 with hashes)."]


def test_extras_and_groups_of_a_uv_lock_are_installed_by_name(tmp_path):
    lines, _folders, needed = locked(tmp_path, WORKSPACE, extras=["ALL", "old", "prod"])
    added = [
        "old==1.0 --hash=sha256:01",
        "redis @ https://h/redis-5.0.tar.gz --hash=sha256:55",
        "torch==2.5+cpu --hash=sha256:77",
    ]
    assert lines == ["--extra-index-url https://download.pytorch.org/whl/cpu", *sorted([*OF_APP, *added])]
    assert "with all, old, prod)" in needed.read[0]


def test_another_project_of_the_workspace_is_read_by_its_lock(tmp_path):
    lines, folders, _needed = locked(tmp_path, WORKSPACE, given=["services/api/pyproject.toml"])
    assert (lines, folders) == (["asgiref==3.8 --hash=sha256:a5", OF_APP[1]], [])


def test_a_project_that_no_lock_above_knows_is_read_by_itself(tmp_path):
    files = {**WORKSPACE, "other/pyproject.toml": "[project]\nname = 'other'\ndependencies = ['x']\n"}
    assert read(tmp_path, files, given=["other/pyproject.toml"])[0] == {"app.txt": ["x"]}


def test_the_python_versions_of_a_lock_travel(tmp_path):
    _lines, _folders, needed = locked(tmp_path, WORKSPACE)
    assert requirement_lines.notes(needed.entries[0].source, "requires-python") == [("uv.lock", ">=3.11")]


def test_what_a_uv_lock_overrides_and_excludes_travels(tmp_path):
    files = {
        "uv.lock": UV.replace(
            "[[package]]",
            "[manifest]\noverrides = [{ name = 'asgiref' }, { name = 'colorama' }]\nexcludes = ['x']\n[[package]]",
            1,
        )
    }
    _lines, _folders, needed = locked(tmp_path, {**WORKSPACE, **files})
    found = [text for _where, text in requirement_lines.notes(needed.entries[0].source, "override")]
    assert found == ["asgiref==3.8", "colorama==0.4 ; python_full_version < '3.12'", "x ; python_version < '0'"]


POETRY = "[project]\nname = 'app'\ndependencies = ['flask[async] (>=3.1,<4.0)']\n[project.optional-dependencies]\ncache = ['redis']\n"
POETRY_2 = """
[[package]]
name = "flask"
version = "3.1.3"
groups = ["main", "dev"]
files = [{file = "flask.whl", hash = "sha256:f1"}]
[[package]]
name = "pywin32"
version = "306"
groups = ["main"]
markers = "sys_platform == \\"win32\\""
files = []
[[package]]
name = "redis"
version = "5.0"
optional = true
groups = ["main"]
markers = "extra == \\"cache\\" and python_version < \\"3.13\\""
files = [{file = "redis.whl", hash = "sha256:55"}]
[[package]]
name = "tomli"
version = "2.0"
groups = ["dev", "prod"]
files = [{file = "tomli.whl", hash = "sha256:70"}]
[package.markers]
dev = "python_version < \\"3.9\\""
prod = "python_version < \\"3.11\\""
[[package]]
name = "mylib"
version = "0.3"
groups = ["main"]
files = []
[package.source]
type = "git"
url = "git@h:team/mylib.git"
reference = "v1"
resolved_reference = "32bbce84"
[extras]
cache = ["redis"]
[metadata]
lock-version = "2.1"
python-versions = ">=3.10,<4.0"
"""
OLD_POETRY = (
    "[tool.poetry]\nname = 'app'\n[tool.poetry.dependencies]\npython = '^3.9'\nflask = {version = '^3.1', extras = ['async']}\n"
    "redis = {version = '~5', optional = true}\nnumpy = [{version = '<2', python = '<3.10'}, {version = '^2.1', python = '^3.10'}]\n"
    "[tool.poetry.extras]\ncache = ['redis']\n[tool.poetry.group.prod.dependencies]\ntomli = '*'\n"
)
POETRY_1 = """
[[package]]
name = "asgiref"
version = "3.8"
files = [{file = "a.whl", hash = "sha256:a5"}]
[[package]]
name = "colorama"
version = "0.4"
files = [{file = "c.whl", hash = "sha256:c0"}]
[[package]]
name = "Flask"
version = "3.1.3"
files = [{file = "f.whl", hash = "sha256:f1"}]
[package.dependencies]
asgiref = {version = ">=3.2", optional = true, markers = "sys_platform != 'win32' and extra == 'async'"}
colorama = {version = "*", markers = "platform_system == 'Windows'"}
[package.extras]
async = ["asgiref (>=3.2)"]
[[package]]
name = "numpy"
version = "1.26.4"
files = [{file = "n.whl", hash = "sha256:11"}]
[[package]]
name = "numpy"
version = "2.4.0"
files = [{file = "n.whl", hash = "sha256:22"}]
[[package]]
name = "redis"
version = "5.0"
files = [{file = "r.whl", hash = "sha256:55"}]
[[package]]
name = "tomli"
version = "2.0"
files = [{file = "t.whl", hash = "sha256:70"}]
[extras]
cache = ["redis"]
[metadata]
lock-version = "2.0"
python-versions = "^3.9"
"""
PDM = """
[metadata]
groups = ["default", "cache"]
strategy = ["inherit_metadata"]
[[metadata.targets]]
requires_python = ">=3.9"
[[package]]
name = "flask"
version = "3.1.3"
groups = ["default"]
files = [{file = "flask.whl", hash = "sha256:f1"}]
[[package]]
name = "flask"
version = "3.1.3"
extras = ["async"]
groups = ["default"]
files = [{file = "flask.whl", hash = "sha256:f1"}]
[[package]]
name = "redis"
version = "5.0"
groups = ["cache"]
marker = "python_version < \\"3.13\\""
files = [{file = "redis.whl", hash = "sha256:55"}]
"""
PIPFILE = {
    "_meta": {
        "requires": {"python_version": "3.11"},
        "sources": [{"name": "own", "url": "https://mirror/simple"}, {"name": "cpu", "url": "https://cpu/simple"}],
    },
    "default": {
        "flask": {"version": "==3.1.3", "extras": ["async"], "hashes": ["sha256:f1"], "index": "own"},
        "pywin32": {"version": "*", "markers": "sys_platform == 'win32'"},
        "mylib": {"git": "https://h/team/mylib.git", "ref": "32bbce84"},
        "common": {"path": "./libs/common", "editable": True},
        "torch": {"version": "==2.5", "hashes": ["sha256:77"], "index": "cpu"},
    },
    "prod": {"redis": {"version": "==5.0", "hashes": ["sha256:55"]}},
    "develop": {"pytest": {"version": "==8.0", "hashes": ["sha256:99"]}},
}
PYLOCK = """
lock-version = "1.0"
extras = ["cache"]
dependency-groups = ["prod", "dev"]
[[packages]]
name = "flask"
version = "3.1.3"
wheels = [{hashes = {sha256 = "f1"}}]
[[packages]]
name = "redis"
version = "5.0"
marker = "'cache' in extras"
wheels = [{hashes = {sha256 = "55"}}]
[[packages]]
name = "tomli"
version = "2.0"
marker = "'prod' in dependency_groups and python_version < '3.11'"
wheels = [{hashes = {sha256 = "70"}}]
[[packages]]
name = "pytest"
version = "8.0"
marker = "'dev' in dependency_groups"
wheels = [{hashes = {sha256 = "99"}}]
[[packages]]
name = "mylib"
vcs = {type = "git", url = "https://h/team/mylib", commit-id = "32bbce84"}
"""
FLASK, REDIS, ASGIREF = "flask==3.1.3 --hash=sha256:f1", "redis==5.0 --hash=sha256:55", "asgiref==3.8 --hash=sha256:a5"
TOMLI = "tomli==2.0 ; python_version < '3.11' --hash=sha256:70"
REDIS_313 = "redis==5.0 ; python_version < '3.13' --hash=sha256:55"
NUMPY = [
    "numpy==1.26.4 ; python_version < '3.10' --hash=sha256:11",
    "numpy==2.4.0 ; python_version < '4.0' and python_version >= '3.10' --hash=sha256:22",
]
OTHERS = {
    "Poetry 2": ({"poetry.lock": POETRY_2, "pyproject.toml": POETRY}, [], [FLASK], ["mylib @ git+ssh://git@h/team/mylib.git@32bbce84"]),
    "Poetry 2, by name": (
        {"poetry.lock": POETRY_2, "pyproject.toml": POETRY},
        ["cache", "prod"],
        [FLASK, REDIS_313, TOMLI],
        ["mylib @ git+ssh://git@h/team/mylib.git@32bbce84"],
    ),
    "Poetry 1": ({"poetry.lock": POETRY_1, "pyproject.toml": OLD_POETRY}, [], ["Flask" + FLASK[5:], ASGIREF, *NUMPY], []),
    "Poetry 1, by name": (
        {"poetry.lock": POETRY_1, "pyproject.toml": OLD_POETRY},
        ["cache", "prod"],
        ["Flask" + FLASK[5:], ASGIREF, *NUMPY, REDIS, "tomli==2.0 --hash=sha256:70"],
        [],
    ),
    "PDM": ({"pdm.lock": PDM, "pyproject.toml": POETRY}, [], [FLASK], []),
    "PDM, by name": ({"pdm.lock": PDM, "pyproject.toml": POETRY}, ["cache"], [FLASK, REDIS_313], []),
    "Pipenv, by name": (
        {"Pipfile.lock": json.dumps(PIPFILE), "Pipfile": "[packages]\nflask = '>=3'\ncommon = {path = './libs/common'}\n", "libs/common/setup.py": ""},
        ["prod"],
        [
            "--extra-index-url https://mirror/simple",
            "--extra-index-url https://cpu/simple",
            "flask[async]==3.1.3 --hash=sha256:f1",
            REDIS,
            "torch==2.5 --hash=sha256:77",
        ],
        ["mylib @ git+https://h/team/mylib.git@32bbce84", f"{ROOT}/libs/common"],
    ),
    "the standard": ({"pylock.toml": PYLOCK, "pylock.dev.toml": "x"}, [], [FLASK], ["mylib @ git+https://h/team/mylib@32bbce84"]),
    "the standard, by name": ({"pylock.toml": PYLOCK}, ["cache", "prod"], [FLASK, REDIS, TOMLI], ["mylib @ git+https://h/team/mylib@32bbce84"]),
}  # fmt: skip


@pytest.mark.parametrize(("files", "extras", "lines", "folders"), OTHERS.values(), ids=OTHERS)
def test_a_lock_is_read_as_its_tool_installs_it(tmp_path, files, extras, lines, folders):
    found = locked(tmp_path, files, extras=extras)
    assert (sorted(found[0]), sorted(found[1])) == (sorted(lines), sorted(folders))


REFUSED = {
    "missing in uv.lock": (
        {**WORKSPACE, "pyproject.toml": "[project]\nname='a'\ndependencies=['celery>=5']\n"},
        ["pyproject.toml, project.dependencies", "'celery>=5'", "has no celery", "`uv lock`"],
    ),
    "older in uv.lock": (
        {**WORKSPACE, "pyproject.toml": "[project]\nname='a'\ndependencies=['Flask>=3.2']\n"},
        ["'Flask>=3.2'", "has Flask 3.1.3", "`uv lock`"],
    ),
    "older in poetry.lock": (
        {"poetry.lock": POETRY_2, "pyproject.toml": POETRY.replace(">=3.1", ">=3.2")},
        ["project.dependencies", "`poetry lock`"],
    ),
    "caret of Poetry": (
        {"poetry.lock": POETRY_1, "pyproject.toml": OLD_POETRY.replace("'^3.1'", "'^2.0'")},
        ["tool.poetry.dependencies", "flask ^2.0", "`poetry lock`"],
    ),
    "older in pdm.lock": (
        {"pdm.lock": PDM, "pyproject.toml": POETRY.replace(">=3.1", ">=3.2")},
        ["has flask 3.1.3", "`pdm lock`"],
    ),
    "older in Pipfile.lock": (
        {"Pipfile.lock": json.dumps(PIPFILE), "Pipfile": "[packages]\nflask = '<3'\n"},
        ["Pipfile, [packages]", "flask <3", "`pipenv lock`"],
    ),
    "older in pylock.toml": (
        {"pylock.toml": PYLOCK, "pyproject.toml": POETRY.replace(">=3.1", ">=3.2")},
        ["has flask 3.1.3"],
    ),
    "another project's": (
        {"uv.lock": UV.replace('virtual = "."', 'virtual = "x"'), "pyproject.toml": BUILD},
        ["uv.lock locks no project in", "services/api", "flask_app_requirements"],
    ),
    "outside": (
        {"uv.lock": UV.replace("libs/common", "../common"), "pyproject.toml": BUILD},
        ["uv.lock, package common", "no such file"],
    ),
    "no lock": (
        {"uv.lock": "[[package]]\nversion = '1'\n", "pyproject.toml": BUILD},
        ["uv.lock is not a lock file as its tool writes it"],
    ),
    "no marker": (
        {"pdm.lock": PDM.replace("python_version <", "python version <")},
        ["pdm.lock, package redis has the marker", "`pdm lock`"],
    ),
    "PDM without groups": ({"pdm.lock": PDM.replace('"inherit_metadata"', "")}, ["inherit_metadata", "pdm export"]),
    "Poetry 1 alone": ({"poetry.lock": POETRY_1}, ["Poetry 2", "poetry export"]),
    "Poetry 1, several": (
        {"poetry.lock": POETRY_1, "pyproject.toml": OLD_POETRY.replace("'<2'", "'*'")},
        ["package numpy", "several versions", "poetry export"],
    ),
    "Pipenv": ({"Pipfile.lock": "{"}, ["Pipfile.lock cannot be read", "`pipenv lock`"]),
}


@pytest.mark.parametrize(("files", "says"), REFUSED.values(), ids=REFUSED)
def test_a_lock_that_can_only_fail_is_refused_with_the_command_that_helps(tmp_path, files, says):
    with pytest.raises(pack.PackError) as caught:
        read(tmp_path, files, extras=["cache"] if "pdm.lock" in files else [])
    assert [part for part in says if part not in str(caught.value)] == [], caught.value


PROJECT = (
    "[project]\nname = 'a'\ndependencies = ['flask']\n[project.optional-dependencies]\npg = ['psycopg']\n"
    "[dependency-groups]\nprod = ['sentry-sdk', {include-group = 'base'}]\nbase = ['requests']\n"
)


@pytest.mark.parametrize(
    ("files", "extras", "lines"),
    [
        ({"pyproject.toml": PROJECT}, ["PG", "prod"], {"app.txt": ["flask", "sentry-sdk", "requests", "psycopg"]}),
        ({"pyproject.toml": PROJECT + BUILD}, ["pg", "prod"], {"app.txt": ["sentry-sdk", "requests"], "folders.txt": [f"{ROOT}[pg]"]}),
        ({"setup.py": ""}, ["pg"], {"folders.txt": [f"{ROOT}[pg]"]}),
    ],
)  # fmt: skip
def test_extras_and_groups_of_a_project_are_installed_by_name(tmp_path, files, extras, lines):
    assert read(tmp_path, files, extras=extras)[0] == lines


def test_a_project_that_asks_for_itself_asks_for_what_its_extras_name(tmp_path):
    """An index has nothing of its name, or somebody else's package."""
    groups = "all = ['A[pg, cache] ; python_version < \"3.13\"', 'a[all]']\ncache = ['redis; os_name==\"posix\"', 'r @ https://h/r;x ; y == \"z\"']\n"
    content = PROJECT.replace("[dependency-groups]", f"{groups}[dependency-groups]").replace(
        "['requests']", "['a[pg]']"
    )
    assert read(tmp_path, {"pyproject.toml": content}, extras=["all", "prod"])[0]["app.txt"] == [
        "flask",
        "sentry-sdk",
        "psycopg",
        'psycopg ; python_version < "3.13"',
        'redis ; (os_name=="posix") and (python_version < "3.13")',
        'r @ https://h/r;x ; (y == "z") and (python_version < "3.13")',
    ]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"pyproject.toml": PROJECT}, "flask_app_extras names x, and pyproject.toml has only base, pg, prod."),
        ({"requirements.txt": "flask\n"}, "flask_app_extras names x, and requirements.txt has none."),
        (WORKSPACE, "flask_app_extras names x, and uv.lock has only all, cache, dev, new, old, prod."),
        ({}, "flask_app_extras names x, and the source has none."),
    ],
)
def test_a_name_that_nothing_has_is_refused_with_those_that_there_are(tmp_path, files, says):
    with pytest.raises(pack.PackError) as caught:
        read(tmp_path, files, extras=["x"])
    assert str(caught.value).startswith(says)


def test_a_lock_that_requirements_come_before_is_named(tmp_path):
    _found, needed = read(tmp_path, {**WORKSPACE, "requirements.txt": "flask\n"})
    assert (
        needed.notes()[1]
        == "uv.lock is not read, since requirements.txt comes first; flask_app_requirements can name it."
    )


def test_a_build_of_a_repository_asks_for_nothing_that_is_known(tmp_path):
    """For hosts without a network, the requirements of builds are collected."""
    locked(tmp_path, WORKSPACE)
    assert needs.to_build(tmp_path / "scratch/requirements/folders.txt", tmp_path / "source") == ["setuptools"]
