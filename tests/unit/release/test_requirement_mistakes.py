# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lines that other tools, other systems and people write into requirement files, each refused with what to write in its place."""

from __future__ import annotations

import pytest

from ansible_collections.pygun.stack.plugins.plugin_utils import pack
from tests.unit.release.test_requirement_forms import BUILD, ROOT, read

FORGE = "https://github.com/team/x"
WRONG = {
    "a repository of this machine": ("x @ git+file:///home/me/x\n", "a repository on the machine that wrote it"),
    "a repository beside it": ("git+./libs/x\n", "a repository on the machine that wrote it"),
    "a repository by scp": ("x @ git@github.com:team/x.git@v1\n", "Write git+ssh://git@github.com/team/x.git@v1."),
    "without a name": ("-e git@github.com:team/x.git#egg=x\n", "Write git+ssh://git@github.com/team/x.git#egg=x."),
    "the page of a folder": (f"x @ {FORGE}/tree/v1/lib\n", f"Write git+{FORGE}@v1#subdirectory=lib."),
    "the page of a branch": (f"git+{FORGE}/tree/dev\n", f"Write git+{FORGE}@dev."),
    "the page of a file": (f"x @ {FORGE}/blob/main/x-1-py3-none-any.whl\n", "/raw/ in place of /blob/"),
    "a page of GitLab": ("x @ https://git.example/a/b/c/-/tree/v1\n", "Write git+https://git.example/a/b/c@v1."),
    "an egg": ("https://h/x-1-py3.11.egg\n", "do not install. Write NAME==VERSION"),
    "an installer": ("./x-1.win32.exe\n", "do not install"),
    "a variable of a shell": ("x @ https://$token@h/x.whl\n", "variable token"),
    "a variable in small letters": ("x @ https://${token}@h/x.whl\n", "variable token"),
    "a version behind @": ("flask@3.0.0\n", "Write flask==3.0.0."),
    "the newest behind @": ("flask@latest\n", "Write flask."),
    "short options": ("torch==2.1 -i https://h/simple\n", "has -i behind a requirement. Write it on a line of its own."),
    "an option of the command": ("flask -U\n", "has -U, which no requirement file can hold"),
    "an entry in quotes": ('    "flask==3.0",\n', "Write flask==3.0."),
    "an entry of Markdown": ("* flask\n", "Write flask."),
    "a number before it": ("1. flask\n", "Write flask."),
    "an arrow": ("flask=>3.0\n", "Write flask>=3.0."),
    "a comparison of Ruby": ("flask~>3.0\n", "Write flask~=3.0."),
    "a caret": ("flask^3.0\n", "Write flask>=3.0."),
    "no comma": ("jinja2 >= 3.0 < 4\n", "Write jinja2 >= 3.0,< 4."),
    "several in a line": ("flask, redis\n", "Write each on a line of its own"),
    "the output of pip list": ("Package    Version\n---------- -------\n", "`pip freeze`"),
    "a module of Python": ("sqlite3\n", "a module of Python itself"),
    "a package of macOS": ("pyobjc-framework-Cocoa==9\n", "pyobjc-framework-Cocoa==9 ; sys_platform == 'darwin'"),
    "TensorFlow of Windows": ("tensorflow-intel==2.13\n", "tensorflow-intel==2.13 ; sys_platform == 'win32'"),
    "a package of Ubuntu": ("ufw==0.36\n", "outside of a virtual environment"),
    "a version of Ubuntu": ("distro-info===0.23ubuntu1\n", "outside of a virtual environment"),
    "a command": ("pip install -r base.txt\n", "no requirement but a command"),
    "a command of a notebook": ("!pip3 install flask\n", "no requirement but a command"),
    "a command of git": ("git clone https://github.com/team/x\n", "no requirement but a command"),
    "a build of Conda": ("numpy==1.26.4=py311_0\n", "Write numpy==1.26.4."),
    "a channel of Conda": ("conda-forge::numpy\n", "Write numpy."),
    "a local version and later": ("torch>=2.1.0+cpu\n", "Write torch>=2.1.0."),
    "a path of Windows": ("-r requirements\\base.txt\n", "Write / in place of \\."),
}  # fmt: skip


@pytest.mark.parametrize(("text", "says"), WRONG.values(), ids=WRONG)
def test_a_line_that_only_looks_right_is_refused_with_what_to_write(tmp_path, text, says):
    with pytest.raises(pack.PackError) as caught:
        read(tmp_path, {"requirements.txt": f"redis\n{text}"})
    assert "requirements.txt, line 2" in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize("line", ["common @ file:///app/libs/common\n", "-e /app/libs/common\n"])
def test_a_path_of_an_image_is_refused_with_the_one_in_the_source(tmp_path, line):
    with pytest.raises(pack.PackError, match=r"Write (common @ )?\./libs/common\."):
        read(tmp_path, {"requirements.txt": line, "libs/common/setup.py": ""})


@pytest.mark.parametrize("line", ["-e .\n", ".\n", "https://h/x.tar.gz\n"])
def test_a_constraint_without_a_name_is_refused_as_every_installer_would(tmp_path, line):
    with pytest.raises(pack.PackError, match=r"c\.txt, line 1 is .* a constraint begins with a name"):
        read(tmp_path, {"requirements.txt": "-c c.txt\nflask\n", "c.txt": line, "pyproject.toml": BUILD})


@pytest.mark.parametrize(
    "line",
    [
        "x @ https://gitlab.com/g/p/-/archive/main/p-main.zip",
        "git+https://gitlab.com/group/sub/src/project.git",
        "git+https://github.com/tree/src",
        "x @ https://github.com/team/x/raw/main/x-1-py3-none-any.whl",
        "x @ https://github.com/team/x/releases/download/v1/x-1-py3-none-any.whl",
        "common @ git+https://git.example/team/common@main",
        "sqlite3 ; python_version < '3'",
        "python-dateutil==2.9",
        "uv==0.9",
        "pip >= 23",
        "poetry ; python_version > '3'",
        "conda @ https://h/x.tar.gz",
        "torch==2.1.0+cu121",
        "x==1.0+ubuntu",
        "x @ https://h/a$/x.whl",
    ],
)
def test_what_only_resembles_such_a_line_is_read(tmp_path, line):
    assert read(tmp_path, {"requirements.txt": f"{line}\n"})[0]["app.txt"] == [line]


def test_the_version_in_an_old_name_of_an_egg_is_not_a_part_of_the_name(tmp_path):
    lines = read(tmp_path, {"requirements.txt": "https://h/x.zip#egg=my-lib-1.0\nhttps://h/y.zip#egg=y-2\n"})[0]
    assert lines["app.txt"] == ["my-lib @ https://h/x.zip", "y-2 @ https://h/y.zip"]


@pytest.mark.parametrize("folder", ["a#b", "My App [v2]", "a;b"])
def test_the_folder_of_a_source_may_have_any_name(tmp_path, folder):
    files = {"pyproject.toml": BUILD + "[project]\nname = 'x'\nversion = '1'\n"}
    (tmp_path / folder).mkdir()
    assert read(tmp_path / folder, files)[0] == {"folders.txt": [ROOT]}
