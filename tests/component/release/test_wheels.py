# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Wheels that come from more than the index: they are collected with real installers, and installed without a network."""

import contextlib
import shutil
import sys

import pytest

from ansible_collections.pygun.stack.plugins.module_utils import python_env, virtual_env
from ansible_collections.pygun.stack.plugins.plugin_utils import wheels
from tests.component.diagnosis import index

#: Where the second index stands, and what the installers on the hosts are told besides.
PLACES = {
    "an index of a requirement file": ("--extra-index-url {0}\n", []),
    "an index of the installer": ("", ["--extra-index-url={0}"]),
    "a page of a requirement file": ("-f {0}/torch/\n", []),
}


@pytest.mark.parametrize(("line", "arguments"), PLACES.values(), ids=PLACES)
def test_a_second_index_is_asked_by_both_tools_and_not_by_the_host(tmp_path, line, arguments):
    if not shutil.which("uv"):
        pytest.skip("there is no uv on the path")
    file, dest = tmp_path / "requirements.txt", tmp_path / "wheelhouse"
    for name, package in (("first", "plain"), ("second", "torch")):
        (tmp_path / name).mkdir()
        index.wheel(tmp_path / name, package)
    told = []
    with index.served(tmp_path / "first") as address, index.served(tmp_path / "second") as other:
        file.write_text(
            line.format(other) + f"plain\ntorch\nown @ {other}/own-1.0-py3-none-any.whl ; sys_platform == 'win32'\n"
        )
        added = wheels.collect(
            dest,
            wheels.Target.parse("3.11-manylinux_2_36_x86_64"),
            files=[file],
            packages=[],
            index_url=address,
            extra_args=[text.format(other) for text in arguments],
            scratch=tmp_path,
            warn=told.append,
        )
    assert added == ["plain-1.0-py3-none-any.whl", "torch-1.0-py3-none-any.whl"]
    assert told == []
    installer = python_env.Installer(uv=shutil.which("uv"), wheelhouse=str(dest))
    installer.create(str(tmp_path / "venv"), sys.executable)
    file.write_text(line.format("http://127.0.0.1:9/simple") + "plain\ntorch\n")
    installer.install(str(tmp_path / "venv"), ["-r", str(file)])
    assert virtual_env.installed(str(tmp_path / "venv")) == {"plain": "1.0", "torch": "1.0"}


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_a_login_in_an_argument_of_the_installer_reaches_the_index_and_no_process_list(tmp_path, tool):
    if tool == "uv" and not shutil.which("uv"):
        pytest.skip("there is no uv on the path")
    for package in ("plain", "torch", "own"):
        (tmp_path / package).mkdir()
        index.wheel(tmp_path / package, package)
    with contextlib.ExitStack() as stack:
        first, second, third = (stack.enter_context(index.served(tmp_path / one)) for one in ("plain", "torch", "own"))
        others = [address.replace("://", "://me:s3cret@") for address in (second, third)]
        given = [
            "--only-binary",
            "x",
            f"--extra-index-url={others[0]}",
            "-f",
            f"{others[1]}/own/",
            "--only-binary",
            "y",
        ]
        uv = shutil.which("uv") if tool == "uv" else None
        installer = python_env.Installer(uv=uv, index_url=first, extra_args=given)
        assert installer.extra_args == ["--only-binary", "x", "--only-binary", "y"]
        installer.create(str(tmp_path / "venv"), sys.executable)
        installer.install(str(tmp_path / "venv"), ["plain", "torch", "own"])
    assert {"plain", "torch", "own"} <= set(virtual_env.installed(str(tmp_path / "venv")))


def test_a_package_of_an_address_is_told(tmp_path):
    if not shutil.which("uv"):
        pytest.skip("there is no uv on the path")
    (tmp_path / "packages").mkdir()
    index.wheel(tmp_path / "packages", "plain")
    index.wheel(tmp_path / "packages", "own")
    told = []
    with index.served(tmp_path / "packages") as address:
        wheel = f"{address.removesuffix('/simple')}/files/own-1.0-py3-none-any.whl"
        added = wheels.collect(
            tmp_path / "wheelhouse",
            wheels.Target.parse("3.11-manylinux_2_36_x86_64"),
            files=[],
            packages=["plain", f"own @ {wheel}"],
            index_url=address,
            scratch=tmp_path,
            warn=told.append,
        )
    assert added == ["plain-1.0-py3-none-any.whl"]
    assert [text.partition(",")[0] for text in told] == [f"own comes from {wheel}"]
    assert "write own==VERSION" in told[0]
