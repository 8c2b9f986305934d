# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A lock that no host can be meant by is refused; groups that uv installs without being asked are installed."""

from __future__ import annotations

import pytest

from ansible_collections.pygun.stack.plugins.plugin_utils import pack
from tests.unit.release.test_lock_fit import UV, project
from tests.unit.release.test_requirement_forms import read

PDM = "[metadata]\nlock_version = '4.5.0'\nstrategy = ['inherit_metadata']\n[[metadata.targets]]\nrequires_python = '>=3.11'\n"
FLASK = "[[package]]\nname = 'x'\nversion = '2.0'\ngroups = ['default', 'main']\n"
PYLOCK = "lock-version = '1.0'\n{}[[packages]]\nname = 'x'\nversion = '2.0'\n{}"
MAC, LINUX, MUSL = (
    f"x-2.0-cp311-cp311-{tag}.whl" for tag in ("macosx_14_0_arm64", "manylinux_2_17_x86_64", "musllinux_1_2_x86_64")
)
POETRY = "[metadata]\nlock-version = '2.1'\npython-versions = '*'\n" + FLASK


def wheels(*names, marker=""):
    listed = ", ".join(f"{{url = 'https://h/a%2Bb/{name}', hashes = {{sha256 = '00'}}}}" for name in names)
    return f"wheels = [{listed}]\n" + (f'marker = "{marker}"\n' if marker else "")


def mirrored(name):
    return UV.replace("https://h/x.whl", f"https://h/{name}")


#: Locks that no host can be meant by, and what is said.
FOREIGN = {
    "an environment of uv's": (
        {"uv.lock": UV.replace("[[package]]", "supported-markers = [\"sys_platform == 'darwin'\"]\n[[package]]", 1)},
        "uv.lock is for sys_platform == 'darwin' only",
    ),
    "a wheel of uv's": ({"uv.lock": mirrored(MAC)}, f"package x has {MAC} only"),
    "wheels of musl": ({"pylock.toml": PYLOCK.format("", wheels(MUSL, MAC))}, f"package x has {MUSL} and 1 more only"),
    "an environment of the standard": ({"pylock.toml": PYLOCK.format("environments = [\"os_name == 'nt'\"]\n", "")}, "for os_name == 'nt' only"),
    "a target of PDM's": ({"pdm.lock": PDM + "platform = 'macos_14_0_arm64'\n" + FLASK}, "pdm.lock is for macos_14_0_arm64 only"),
    "a file of PDM's": ({"pdm.lock": PDM + FLASK + f"files = [{{file = '{MAC}', hash = 'sha256:00'}}]\n"}, "package x has"),
    "a file of Poetry's": ({"poetry.lock": POETRY + f"files = [{{file = '{MAC}', hash = 'sha256:00'}}]\n"}, "package x has"),
}  # fmt: skip
#: Locks of which some file or environment is for the hosts.
USABLE = {
    "one environment of two": {
        "uv.lock": UV.replace(
            "[[package]]",
            "supported-markers = [\"sys_platform == 'darwin'\", \"sys_platform == 'linux' and platform_machine == 'x86_64'\"]\n[[package]]",
            1,
        )
    },
    "one wheel of two": {"pylock.toml": PYLOCK.format("", wheels(MAC, LINUX))},
    "a source beside a wheel": {"pylock.toml": PYLOCK.format("", wheels(MAC, "x-2.0.tar.gz"))},
    "for other machines": {"pylock.toml": PYLOCK.format("", wheels(MAC, marker="platform_machine == 'arm64'"))},
    "a target of PDM's": {"pdm.lock": PDM + "platform = 'manylinux_2_17_x86_64'\n" + FLASK},
}


@pytest.mark.parametrize(("files", "says"), FOREIGN.values(), ids=FOREIGN)
def test_a_lock_for_other_systems_is_refused(tmp_path, files, says):
    with pytest.raises(pack.PackError, match="hosts are Linux with glibc") as caught:
        read(tmp_path, {"pyproject.toml": project("x"), **files})
    assert says in str(caught.value)


@pytest.mark.parametrize("files", USABLE.values(), ids=USABLE)
def test_a_lock_with_something_for_the_hosts_is_read(tmp_path, files):
    lines = read(tmp_path, {"pyproject.toml": project("x"), **files})[0]["locked.txt"]
    assert any(line.startswith("x==2.0") for line in lines)


GROUPS = "[dependency-groups]\nprod = ['y']\ndev = ['z']\n[tool.uv]\ndefault-groups = {}\n"
LOCKED_GROUPS = UV.replace(
    'dependencies = [{ name = "x" }]\n',
    'dependencies = [{ name = "x" }]\n[package.dev-dependencies]\nprod = [{ name = "y" }]\ndev = [{ name = "z" }]\n',
) + "".join(
    f"[[package]]\nname = '{name}'\nversion = '1'\nsource = {{ registry = 'https://pypi.org/simple' }}\n"
    for name in "yz"
)


@pytest.mark.parametrize("default", ["['dev', 'typing', 'prod']", "'all'"])
@pytest.mark.parametrize("lock", [{"uv.lock": LOCKED_GROUPS}, {}], ids=["locked", "alone"])
def test_default_groups_of_uv_are_installed_but_for_those_of_development(tmp_path, default, lock):
    found = read(tmp_path, {"pyproject.toml": project("x") + GROUPS.format(default), **lock})[0]
    names = {line[0] for lines in found.values() for line in lines} - {"#"}
    assert names == {"x", "y"}
