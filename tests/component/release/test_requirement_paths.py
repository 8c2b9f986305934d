# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Requirements that name projects and files of the source, from the control node to an environment, with real installers."""

import hashlib
import shutil
import sys
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils import python_env
from ansible_collections.pygun.stack.plugins.module_utils.release import resolution
from ansible_collections.pygun.stack.plugins.module_utils.release.environments import Needed
from ansible_collections.pygun.stack.plugins.plugin_utils import needs
from ansible_collections.pygun.stack.plugins.plugin_utils.source_tree import SourceTree
from tests.component.diagnosis.index import wheel

#: A build backend without requirements, since there is no index.
BACKEND = """
import os, zipfile
def build_wheel(folder, *arguments):
    name = os.path.basename(os.getcwd()) if os.path.basename(os.getcwd()) != "src" else "scoring"
    path = f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(os.path.join(folder, path), "w") as archive:
        archive.writestr(f"{name}/__init__.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\nRequires-Dist: plain\\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(f"{info}/RECORD", "")
    return path
build_editable = build_wheel
"""
PROJECT = "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"


@pytest.fixture(name="install")
def install_fixture(request, tmp_path):
    """Install what a source asks for, whose files are given; what is in its environment then."""
    uv = shutil.which("uv")
    if request.param == "uv" and not uv:
        pytest.skip("there is no uv on the path")
    wheels = tmp_path / "index"
    wheels.mkdir()
    wheel(wheels, "plain")
    wheel(wheels, "server")
    digest = hashlib.sha256((wheels / "plain-1.0-py3-none-any.whl").read_bytes()).hexdigest()

    def install(files):
        source, release, scratch = tmp_path / "app", tmp_path / "release", tmp_path / "scratch"
        for name, text in files.items():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("DIGEST", digest))
        scratch.mkdir()
        entries = list(SourceTree(source).entries("src"))
        needed = needs.of(source, [], [entry.path for entry in entries], scratch)
        for entry in [*entries, *needed.entries]:
            (release / entry.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(entry.source, release / entry.path)
        shutil.move(source, tmp_path / "gone")  # a host has the release alone
        params = dict.fromkeys(("index_url", "ca_bundle", "cache_dir"), "")
        params.update(
            requirements=needed.paths,
            packages=[],
            server_packages=["server==1.0"],
            overrides=[],
            python=sys.executable,
            uv=uv if request.param == "uv" else None,
            wheelhouse=str(wheels),
            extra_args=[],
            timeout=300,
            cache_max="0",
        )
        lock = resolution.Resolution(params, str(release)).lock()
        Needed(params, str(release), "3.11").install(lock, str(release / "venv"), None)
        return release

    return install


def versions(release):
    return {
        name: version
        for name, version in python_env.installed(str(release / "venv")).items()
        if name not in ("pip", "setuptools")
    }


PACKAGE = {"pyproject.toml": PROJECT, "backend.py": BACKEND}
LIBRARY = {f"libs/common/{name}": text for name, text in PACKAGE.items()}
CASES = {
    "a lock with hashes, a folder and the source": (
        {
            **PACKAGE,
            **LIBRARY,
            "requirements.txt": "plain==1.0 --hash=sha256:DIGEST\n-e .\n./libs/common\n",
        },
        {"scoring", "common", "plain", "server"},
    ),
    "a folder by its name": (
        {**LIBRARY, "requirements/prod.txt": "common @ file:./libs/common\n", "requirements.txt": "-r requirements/prod.txt\n"},
        {"common", "plain", "server"},
    ),
    "a project alone": (PACKAGE, {"scoring", "plain", "server"}),
    "src layout": (
        {**PACKAGE, "src/scoring/__init__.py": "", "requirements.txt": "plain\n"},
        {"scoring", "plain", "server"},
    ),
    "a list without a build system": (
        {"pyproject.toml": "[project]\nname = 'x'\ndependencies = ['plain>=1']\n"},
        {"plain", "server"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("install", "files", "names"),
    [("uv", *case) for case in CASES.values()] + [("pip", *next(iter(CASES.values())))],
    indirect=["install"],
    ids=[f"uv, {name}" for name in CASES] + [f"pip, {next(iter(CASES))}"],
)
def test_it_is_installed_from_the_source_of_the_release(install, files, names):
    release = install(files)
    assert set(versions(release)) == names
    # Not editable: the environment has the modules itself.
    assert not list((release / "venv").rglob("__editable__*"))
    for name in names & {"scoring", "common"}:
        (folder,) = python_env.site_packages(str(release / "venv"))
        assert (Path(folder) / name / "__init__.py").is_file()


@pytest.mark.parametrize("install", ["uv"], indirect=True)
def test_a_wheel_of_the_source_is_installed(install, tmp_path):
    folder = tmp_path / "app" / "wheels"
    folder.mkdir(parents=True)
    wheel(folder, "own")
    text = "--find-links ./wheels\nown\n"
    assert set(versions(install({"requirements.txt": text}))) == {"own", "server"}


@pytest.mark.parametrize("install", ["uv"], indirect=True)
def test_a_repository_is_refused_on_a_host_without_git(install, monkeypatch):
    found = shutil.which
    monkeypatch.setattr(resolution.shutil, "which", lambda name: None if name == "git" else found(name))
    with pytest.raises(python_env.InstallError) as caught:
        install({"requirements.txt": "plain\nx @ git+https://h/x.git@v1\n"})
    assert caught.value.cause == "requirements.txt, line 2 names a git repository, and this host has no git."
    assert "Install git on the host" in caught.value.remedy
