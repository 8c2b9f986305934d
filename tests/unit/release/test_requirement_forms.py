# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every usual way to say what an app needs is read, or refused with file, line and remedy."""

from __future__ import annotations

import re

import pytest

from ansible_collections.pygun.stack.plugins.plugin_utils import needs, pack, requirement_mistakes
from ansible_collections.pygun.stack.plugins.plugin_utils.source_tree import SourceTree

ROOT = "${PROJECT_ROOT}"
BUILD = "[build-system]\nrequires = ['setuptools']\n"


def read(tmp_path, files, given=(), packages=False, extras=()):
    """Name and lines of each requirement file of the release, without the origin of the lines, and what was read."""
    source, scratch = tmp_path / "source", tmp_path / "scratch"
    for folder in (source, scratch):
        folder.mkdir(exist_ok=True)
    for name, content in {"wsgi.py": "", **files}.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    packed = [entry.path for entry in SourceTree(source).entries("src")]
    found = needs.of(source, list(given), packed, scratch, packages, extras)
    texts = {entry.path.removeprefix("requirements/"): entry.source.read_text() for entry in found.entries}
    return {name: re.sub(r"  # from .*", "", text).splitlines() for name, text in texts.items()}, found


LIB = {"libs/common/pyproject.toml": BUILD, "libs/common/common.py": ""}
PROJECT = {"pyproject.toml": BUILD + "[project]\nname = 'x'\n", "scoring/__init__.py": ""}
#: What a requirements.txt says, the files beside it, and the lines that an installer is given.
WORKS = {
    "editable source": ("-e .\n", PROJECT, {"folders.txt": [ROOT]}),
    "editable with extras": ("--editable=.[dev,web]\n", PROJECT, {"folders.txt": [f"{ROOT}[dev,web]"]}),
    "source": (".\nflask\n", PROJECT, {"app.txt": ["flask"], "folders.txt": [ROOT]}),
    "folder": ("./libs/common\n", LIB, {"folders.txt": [f"{ROOT}/libs/common"]}),
    "folder without a dot": ("libs/common\n", LIB, {"folders.txt": [f"{ROOT}/libs/common"]}),
    "folder of the file": (
        "-r libs/more.txt\n",
        {**LIB, "libs/more.txt": "-e ./common\n"},
        {"folders.txt": [f"{ROOT}/libs/common"]},
    ),
    "folder with extras and marker": (
        "./libs/common[x] ; python_version > '3'\n",
        LIB,
        {"folders.txt": [f"{ROOT}/libs/common[x] ; python_version > '3'"]},
    ),
    "name and folder": ("common @ ./libs/common\n", LIB, {"folders.txt": [f"common @ file://{ROOT}/libs/common"]}),
    "name and relative URL": (
        "common @ file:libs/common\n",
        LIB,
        {"folders.txt": [f"common @ file://{ROOT}/libs/common"]},
    ),
    "name and URL of uv": (
        "common @ file:///${PROJECT_ROOT}/libs/common\n",
        LIB,
        {"folders.txt": [f"common @ file://{ROOT}/libs/common"]},
    ),
    "wheel": ("wheels/x-1-py3-none-any.whl\n", {"wheels/x-1-py3-none-any.whl": ""}, [f"{ROOT}/wheels/x-1-py3-none-any.whl"]),
    "wheel beside": ("x-1-py3-none-any.whl\n", {"x-1-py3-none-any.whl": ""}, [f"{ROOT}/x-1-py3-none-any.whl"]),
    "links": ("--find-links ./wheels\nx\n", {"wheels/x.whl": ""}, [f"--find-links {ROOT}/wheels", "x"]),
    "nested": ("-r reqs/a.txt\nflask\n", {"reqs/a.txt": "-r b.txt\n", "reqs/b.txt": "x==1\n"}, ["x==1", "flask"]),
    "circle": ("-r a.txt\n", {"a.txt": "x\n-r requirements.txt\n-r a.txt\n"}, ["x"]),
    "constraints": (
        "-c c.txt\nflask\n",
        {"c.txt": "flask<4\n"},
        {"app.txt": ["-c constraints.txt", "flask"], "constraints.txt": ["flask<4"]},
    ),
    "constraints of another system": (
        "-c c.txt\nflask\n",
        {"c.txt": "pywin32==306\npython==3.12\n"},
        {"app.txt": ["-c constraints.txt", "flask"], "constraints.txt": ["pywin32==306", "python==3.12"]},
    ),
    "continued lines": ("flask==3.1.2 \\\n  --hash=sha256:00 \\\n  --hash=sha256:11\n", {}, ["flask==3.1.2 --hash=sha256:00 --hash=sha256:11"]),
    "comments": ("# a \\\nflask # b\n  # c\nx#y @ z\n".replace("x#y @ z\n", ""), {}, ["flask"]),
    "Windows": ("\ufeffflask\r\nx\r\n", {}, ["flask", "x"]),
    "PowerShell": ("flask\r\nx\r\n".encode("utf-16"), {}, ["flask", "x"]),
    "markers": ("x ; sys_platform == 'win32'\ny>=1,<2;python_version<'4'\n", {}, ["x ; sys_platform == 'win32'", "y>=1,<2;python_version<'4'"]),
    "parentheses": ("flask (>=3.0)\n", {}, ["flask (>=3.0)"]),
    "several options of a line": (
        "-i http://h/simple --trusted-host h --extra-index-url=http://i/simple\nx\n",
        {},
        ["-i http://h/simple", "--trusted-host h", "--extra-index-url=http://i/simple", "x"],
    ),
    "quotes and a marker": ("-e './libs/common[x]' ; os_name == 'posix'\n", LIB, {"folders.txt": [f"{ROOT}/libs/common[x] ; os_name == 'posix'"]}),
    "a file by its address": ("-r file:a.txt\n", {"a.txt": "x\n"}, ["x"]),
    "settings of a build": ("x -C a=b\n", {}, ["x --config-settings=a=b"]),
    "address": ("x @ https://h/x.whl#sha256=00 ; python_version > '3'\n", {}, ["x @ https://h/x.whl#sha256=00 ; python_version > '3'"]),
    "editable repository": ("-e git+https://h/a/b.git@v1#egg=b&subdirectory=c\n", {}, ["b @ git+https://h/a/b.git@v1#subdirectory=c"]),
    "options": ("--index-url https://h/simple\n-r https://h/r.txt\nx\n", {}, ["--index-url https://h/simple", "-r https://h/r.txt", "x"]),
    "wheel for some": ("x @ https://h/x-1-py3-none-win32.whl ; os_name == 'nt'\n", {}, ["x @ https://h/x-1-py3-none-win32.whl ; os_name == 'nt'"]),
    "source in src layout": (
        "flask\n",
        {"pyproject.toml": BUILD, "src/scoring/__init__.py": ""},
        {"app.txt": ["flask"], "folders.txt": [ROOT]},
    ),
    "source that asks for its own version": (
        "flask\n",
        {**PROJECT, "scoring/__init__.py": "from importlib import metadata\n__version__ = metadata.version('X')\n"},
        {"app.txt": ["flask"], "folders.txt": [ROOT]},
    ),
    "source whose package is asked for its version": (
        "flask\n",
        {"pyproject.toml": BUILD + "[tool.poetry]\nname = 'scor-ing'\n", "scor_ing/__init__.py": "import importlib.metadata as m\nm.version(__package__)\n"},
        {"app.txt": ["flask"], "folders.txt": [ROOT]},
    ),
    "source that asks for another's version": (
        "flask\n",
        {**PROJECT, "scoring/__init__.py": "from importlib import metadata\nmetadata.version('flask')\n"},
        ["flask"],
    ),
    "source without a name that asks for its own version": (
        "flask\n",
        {"pyproject.toml": BUILD, "wsgi.py": "from importlib import metadata\nmetadata.version(__name__)\n"},
        ["flask"],
    ),
    "no package that asks for its own version": (
        "flask\n",
        {"pyproject.toml": BUILD + "[tool.poetry]\nname = 'x'\npackage-mode = false\n", "wsgi.py": "from importlib import metadata\nmetadata.version('x')\n"},
        ["flask"],
    ),
    "a namespace in src layout": (
        "flask\n",
        {"pyproject.toml": BUILD, "src/team/scoring/__init__.py": ""},
        {"app.txt": ["flask"], "folders.txt": [ROOT]},
    ),
    "src without a project": ("flask\n", {"src/scoring/__init__.py": ""}, ["flask"]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "files", "lines"), WORKS.values(), ids=WORKS)
def test_what_can_work_is_read(tmp_path, text, files, lines):
    found, needed = read(tmp_path, {"requirements.txt": text, **files})
    assert found == (lines if isinstance(lines, dict) else {"app.txt": lines})
    assert needed.paths == [f"requirements/{name}" for name in found if name != "constraints.txt"]
    assert needed.read[0] == "requirements.txt"


FAILS = {
    "missing file": ("x\n-r more.txt\n", {}, ["line 2 names more.txt", "there is no file", "Correct the path"]),
    "missing constraints": ("-cmore.txt\n", {}, ["line 1 names more.txt"]),
    "missing in nested": ("-r a.txt\n", {"a.txt": "\n-r b.txt\n"}, ["a.txt, line 2 names b.txt"]),
    "missing folder": ("./libs/x\n", {}, ["line 1 names ./libs/x", "no such file or directory"]),
    "missing wheel": ("x-1-py3-none-any.whl\n", {}, ["no such file or directory"]),
    "missing links": ("-f ./wheels\n", {}, ["names ./wheels", "no such file or directory"]),
    "no project": ("-e .\n", {}, ["is no Python project", "pyproject.toml"]),
    "outside": ("-e ../\n", {}, ["outside the source", "flask_app_src"]),
    "ignored": ("./libs/common\n", {**LIB, ".gitignore": "libs\n"}, ["left out of the release", "flask_app_include"]),
    "Conda's path": ("flask\nnumpy @ file:///croot/numpy_1/work\n", {}, ["line 2", "Conda", "numpy==VERSION", "pip list --format=freeze"]),
    "Conda's line": ("numpy=1.26.4=py311h24aa872_0\n", {}, ["line of Conda", "numpy==1.26.4"]),
    "variable": ("x @ https://${TOKEN}@h/x.whl\n", {}, ["line 1", "variable TOKEN", "flask_app_packages", "'x @ https://{{ token }}@h/x.whl'"]),
    "variable and password": ("x @ https://me:s3cret${N}@h/x.whl\n", {}, ["'NAME @ git+https://{{ token }}@HOST/PATH.git'"]),
    "variable of an index": ("--extra-index-url https://${TOKEN}@h/simple\n", {}, ["python_index_url"]),
    "path of Windows": (".\\libs\\x\n", {}, ["a path of Windows"]),
    "pkg-resources": ("pkg-resources==0.0.0\n", {}, ["no index has", "Take the line out"]),
    "wheel of Windows": ("x @ https://h/x-1-cp311-cp311-win_amd64.whl#sha256=00\n", {}, ["x-1-cp311-cp311-win_amd64.whl", "no host can install", "x==VERSION"]),
    "a command": ("pip install flask\n", {}, ["no requirement", "NAME==VERSION"]),
    "one equals sign": ("flask=3.1.2\n", {}, ["flask==3.1.2"]),
    "latin-1": (b"fl\xe4sk\n", {}, ["not UTF-8"]),
    "a package of Conda": ("https://conda.anaconda.org/conda-forge/noarch/x-3.0-py_0.conda#ab\n", {}, ["a package of Conda", "conda run"]),
    "an old one": ("https://repo.example/pkgs/linux-64/x-3.0-py311_0.tar.bz2\n", {}, ["a package of Conda"]),
    "a list of Conda": ("@EXPLICIT\n", {}, ["packages of Conda"]),
    "a page of a forge": ("x @ https://github.com/team/x\n", {}, ["Write git+https://github.com/team/x,"]),
    "a repository": ("https://t0ken@git.example/a/team/x.git\n", {}, ["Write git+https://***@git.example/a/team/x.git,"]),
    "a repository by scp": ("-e git+git@github.com:team/x.git@v1#egg=x\n", {}, ["git+ssh://git@github.com/team/x.git@v1#egg=x"]),
    "git's own transport": ("git://github.com/team/x.git#egg=x\n", {}, ["Write git+https://github.com/team/x.git#egg=x."]),
    "a package of Windows": ("pywin32==306\n", {}, ["for Windows only", "pywin32==306 ; sys_platform == 'win32'"]),
    "Python itself": ("python>=3.9\n", {}, ["Python is no package", "flask_app_python"]),
    "no version": ("flask==latest\n", {}, ["'latest' is no version", "flask for the newest"]),
    "a list": ("- flask\n", {}, ["an entry of a list", "Write flask."]),
    "two in a line": ("flask==3.1.2 redis==5\n", {}, ["line 1", "seems to be two"]),
    "one number": ("flask~=3\n", {}, ["Write flask~=3.0, or flask>=3."]),
    "a range and a star": ("flask>=1.11.*\n", {}, ["Write >=1.11."]),
    "no version of Python's": ("flask==1.0-SNAPSHOT\n", {}, ["'1.0-SNAPSHOT' is no version"]),
    "an unknown marker": ("flask; python_verson < '3.8'\n", {}, ["\"python_verson < '3.8'\" is no marker"]),
    "a marker without quotes": ("flask; python_version < 3.8\n", {}, ["is no marker", "in quotes"]),
    "a comment without a space": ("flask==3#old\n", {}, ["a space before it"]),
    "a semicolon": ("flask==3;\n", {}, ["Take that out"]),
    "a space behind a line": ("flask==3 \\ \n  --hash=sha256:00\n", {}, ["line 1 has a space behind"]),
    "a comment that goes on": ("flask==3 # old \\\nx\n", {}, ["line 1 ends its comment with", "('x')"]),
    "an option of the command line": ("--no-deps\nflask\n", {}, ["line 1 has --no-deps", "python_extra_args"]),
    "a hash alone": ("flask==3\n  --hash=sha256:00\n", {}, ["line 2 begins with --hash", "End that line"]),
    "an option behind a name": ("flask --no-binary flask\n", {}, ["--no-binary behind a requirement", "line of its own"]),
    "another transport": ("s3://b/x.whl\n", {}, ["no transport", "https://"]),
    "UTF-16 without a mark": ("flask\n".encode("utf-16-le"), {}, ["NUL", "Save it as UTF-8"]),
    "an index without a scheme": ("--index-url pypi.example/simple\n", {}, ["Write https://pypi.example/simple."]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "files", "says"), FAILS.values(), ids=FAILS)
def test_what_can_only_fail_is_refused_with_file_line_and_remedy(tmp_path, text, files, says):
    with pytest.raises(pack.PackError) as caught:
        read(tmp_path, {"requirements.txt": text, **files})
    assert [part for part in [str(tmp_path), *says] if part not in str(caught.value)] == [], caught.value


@pytest.mark.parametrize(
    "text",
    [
        "https://github.com/t/x/archive/main.zip",
        "x @ https://files.example/simple/x-1.0.tar.bz2",
        "git+ssh://git@github.com/t/x.git@v1",
        "pywin32==306 ; sys_platform == 'win32'",
        "python-dotenv==1.0",
        "flask==v3.0",
        "flask==3.*",
        "flask===3.1",
        "--index-url=https://h/simple",
        "-i /srv/index",
        "--pre",
        "-ihttps://h/simple",
        "--no-binary :all:",
        "flask==3.1.2,",
        "flask[async] >=2,<4,!=3.0 ; python_version>'3' and extra == 'x'",
        "x==1 # ends with \\\n# and goes on",
        "x @ https://h/x.whl --hash sha256:00",
        "x==1 --global-option=--y",
        "hg+https://h/x#egg=x",
    ],
)
def test_what_only_looks_like_a_mistake_is_read(tmp_path, text):
    assert read(tmp_path, {"requirements.txt": f"{text}\n"})[0]["app.txt"]


@pytest.mark.parametrize(
    ("lines", "is_refused"),
    [
        (["flask==3.0", "Flask[async]==3.1 --hash=sha256:00"], True),
        (["flask==3.0", "flask==3.0.0"], False),
        (["torch==2.1", "torch==2.1+cpu"], False),
        (["flask==3.0", "flask>=3"], False),
        (["x==1 ; python_version < '3.9'", "x==2 ; python_version >= '3.9'"], False),
        (["x==1.*", "x==1.2"], False),
        (["-r x==1", "x==2"], False),
        (["x @ https://h/x.tar.gz?a==1", "x @ https://h/x.tar.gz?a==2"], False),
        (["flask==3.0", "Flask[async]===3.1"], True),
    ],
)
def test_two_versions_of_one_package_are_refused_with_both_lines(lines, is_refused):
    said = requirement_mistakes.of_all((f"line {number}", text) for number, text in enumerate(lines, 1))
    assert bool(said) == is_refused
    if said:
        assert said.startswith(f"line 1 names flask==3.0, and line 2 names {lines[1].partition(' ')[0]}:")


def test_a_password_in_a_refused_line_is_not_shown(tmp_path):
    with pytest.raises(pack.PackError) as caught:
        read(tmp_path, {"requirements.txt": "pip install https://me:s3cret@h/x.whl\n"})
    assert "s3cret" not in str(caught.value)


def test_the_origin_of_each_line_travels(tmp_path):
    _found, needed = read(tmp_path, {"requirements.txt": "x\n-r a/b.txt\n", "a/b.txt": "\ny\n"})
    lines = needed.entries[0].source.read_text().splitlines()
    assert lines == ["x  # from requirements.txt, line 1", "y  # from a/b.txt, line 2"]


def test_a_file_outside_the_source_is_read_with_what_it_names(tmp_path):
    (tmp_path / "base.txt").write_text("flask\n-r more.txt\n")
    (tmp_path / "more.txt").write_text("x\n")
    for given in (["requirements.txt"], [str(tmp_path / "base.txt")]):
        found, _needed = read(tmp_path, {"requirements.txt": "-r ../base.txt\n"}, given)
        assert found == {"app.txt": ["flask", "x"]}


FLASK = "[project]\nname = 'x'\ndependencies = ['flask>=3', 'y; python_version > \"3\"']\n"
LOCK = "lock-version = '1.0'\n[[packages]]\nname = 'flask'\nversion = '3.1.3'\n"
Y = "[[packages]]\nname = 'y'\nversion = '1'\n"
HASHED = LOCK + "wheels = [{hashes = {sha256 = 'ab'}}]\nsdist = {hashes = {sha256 = 'aa'}}\n"
SOURCES = {
    "a project without a build system": ({"pyproject.toml": FLASK}, {"app.txt": ["flask>=3", 'y; python_version > "3"']}),
    "a project": ({"pyproject.toml": FLASK + BUILD}, {"folders.txt": [ROOT]}),
    "a project of setup.py": ({"setup.py": ""}, {"folders.txt": [ROOT]}),
    "settings of tools beside setup.py": ({"pyproject.toml": "[tool.ruff]\n", "setup.py": ""}, {"folders.txt": [ROOT]}),
    "settings of tools": ({"pyproject.toml": "[tool.black]\n"}, {}),
    "a standard lock": ({"pyproject.toml": FLASK, "pylock.toml": LOCK + Y, "uv.lock": ""}, {"locked.txt": ["flask==3.1.3", "y==1"]}),
    "hashes": ({"pylock.toml": HASHED}, {"locked.txt": ["flask==3.1.3 --hash=sha256:aa --hash=sha256:ab"]}),
    "requirements first": ({"requirements.txt": "x\n", "uv.lock": "", "pyproject.toml": FLASK}, {"app.txt": ["x"]}),
    "Conda for others": ({"pyproject.toml": FLASK, "environment.yml": ""}, {"app.txt": ["flask>=3", 'y; python_version > "3"']}),
    "nothing": ({}, {}),
}  # fmt: skip


@pytest.mark.parametrize(("files", "lines"), SOURCES.values(), ids=SOURCES)
def test_a_source_says_what_it_needs(tmp_path, files, lines):
    assert read(tmp_path, files)[0] == lines


@pytest.mark.parametrize(
    "source",
    [
        "{workspace = true}",
        "{git = 'https://h/flask'}",
        "{index = 'cpu'}",
        "[{path = 'x', marker = \"os_name == 'nt'\"}]",
    ],
)
def test_a_source_that_only_uv_knows_is_refused_without_its_lock(tmp_path, source):
    with pytest.raises(
        pack.PackError, match=r"pyproject\.toml, tool\.uv\.sources says where Flask comes from.*uv lock.*flask_app_src"
    ):
        read(tmp_path, {"pyproject.toml": FLASK + f"[tool.uv.sources]\nFlask = {source}\n"})
    assert read(tmp_path, {"pyproject.toml": FLASK + f"[tool.uv.sources]\nother = {source}\n"})[0]


@pytest.mark.parametrize(
    ("name", "text", "command"),
    [
        ("Pipfile", "", "`pipenv lock && pipenv requirements > requirements.txt`"),
        (
            "environment.yml",
            "name: web\ndependencies: [pip: [flask]]\n",
            "`conda run -n web python -m pip list --format=freeze",
        ),
        ("env-prod.yaml", "", "conda run -n NAME"),
    ],
)
def test_a_form_that_no_installer_reads_is_refused_with_the_command_that_converts_it(tmp_path, name, text, command):
    for given in ([], [name]):
        with pytest.raises(pack.PackError) as refused:
            read(tmp_path, {name: text}, given)
        assert [part for part in (f"{name} is", command) if part not in str(refused.value)] == []
    assert read(tmp_path, {name: text}, packages=True)[0].get("folders.txt") is None


TWO = {"requirements/base.txt": "", "requirements/dev.txt": "", "requirements/prod.txt": "-r base.txt\n"}
POETRY = "[tool.poetry]\npackage-mode = false\n[build-system]\nrequires = ['poetry-core']\n"
DYNAMIC = (
    BUILD
    + "[project]\nname = 'x'\ndynamic = ['dependencies']\n[tool.setuptools.dynamic]\ndependencies = {file = './r.in'}\n"
)
SCRIPT = "# /// script\n# requires-python = '>=3.11'\n# dependencies = ['flask']\n# ///\nimport flask\n"
#: What a source says of its packages where nothing looks for it, and the one thing to write.
ELSEWHERE = {
    "a folder of requirements": (TWO, "flask_app_requirements: [requirements/prod.txt]"),
    "the base of requirements": ({"requirements/base.txt": "", "requirements/test.txt": ""}, "[requirements/base.txt]"),
    "settings of tools beside it": (
        {"requirements-web.txt": "", "pyproject.toml": "[tool.x]\n"},
        "[requirements-web.txt]",
    ),
    "a misspelled name": ({"requirement.txt": ""}, "flask_app_requirements: [requirement.txt]"),
    "in a folder": ({"backend/requirements.txt": ""}, "flask_app_requirements: [backend/requirements.txt]"),
    "Pixi": ({"pixi.toml": ""}, "`pixi list`"),
    "setup.cfg": ({"setup.cfg": "[options]\ninstall_requires = flask\n"}, 'requires = ["setuptools"]'),
    "a script": ({"app.py": SCRIPT}, "`uv export --script app.py --output-file requirements.txt`"),
    "Poetry without a lock": ({"pyproject.toml": POETRY}, "`poetry lock`"),
    "groups": ({"pyproject.toml": "[dependency-groups]\nprod = ['flask']\n"}, "flask_app_extras: [prod]"),
    "a dynamic file": ({"pyproject.toml": DYNAMIC}, "names './r.in', and there is no such file"),
    "an ignored one": ({"pyproject.toml": DYNAMIC, "r.in": "", ".gitignore": "*.in\n"}, "left out of the release"),
}


@pytest.mark.parametrize(("files", "says"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_source_of_which_nothing_would_be_read_is_refused_with_the_one_thing_to_write(tmp_path, files, says):
    with pytest.raises(pack.PackError) as refused:
        read(tmp_path, files)
    assert says in str(refused.value)


QUIET = {
    "other settings": {"setup.cfg": "[flake8]\nmax-line-length = 100\n", "docs/conf.py": "", "data/env.json": ""},
    "what the app itself does not need": {"requirements-dev.txt": "", "docs/requirements.txt": "pytest\n"},
    "a group that is not for servers": {
        "pyproject.toml": "[project]\nname = 'x'\n[dependency-groups]\ndev = ['ruff']\n"
    },
    "a file that says that nothing is needed": {"requirements.txt": "", "requirements-x.txt": ""},
    "a dynamic file": {"pyproject.toml": DYNAMIC, "r.in": "flask\n"},
}


@pytest.mark.parametrize("files", QUIET.values(), ids=QUIET)
def test_a_source_that_needs_nothing_more_is_not_refused(tmp_path, files):
    read(tmp_path, files)


def test_what_a_compiled_file_is_made_of_is_read_if_there_is_none(tmp_path):
    assert read(tmp_path, {"requirements.in": "flask\n"})[0] == {"app.txt": ["flask"]}
    assert read(tmp_path, {"requirements.in": "flask\n", "requirements.txt": "x\n"})[0] == {"app.txt": ["x"]}
