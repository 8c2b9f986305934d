# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Requirements that name projects and files of the source, from the control node to an environment, with real installers."""

import hashlib
import shutil
import sys
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils import python_env, virtual_env
from ansible_collections.pygun.stack.plugins.module_utils.release import installable, package_data, resolution
from ansible_collections.pygun.stack.plugins.module_utils.release.environments import Needed
from ansible_collections.pygun.stack.plugins.plugin_utils import needs
from ansible_collections.pygun.stack.plugins.plugin_utils.source_tree import SourceTree
from tests.component.diagnosis.index import served, wheel

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

    def install(files, index_url="", server=("server==1.0",)):
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
        params = {"index_url": index_url, "ca_bundle": "", "cache_dir": ""}
        params.update(
            requirements=needed.paths,
            packages=[],
            server_packages=list(server),
            overrides=[],
            python=sys.executable,
            uv=uv if request.param == "uv" else None,
            wheelhouse="" if index_url else str(wheels),
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
        for name, version in virtual_env.installed(str(release / "venv")).items()
        if name not in ("pip", "setuptools")
    }


#: A project in uv's lock, with a folder of its workspace; what it overrides no package that it needs would take.
UV_LOCK = """
requires-python = ">=3.9"
[[package]]
name = "scoring"
version = "1.0"
source = { editable = "." }
dependencies = [{ name = "common" }, { name = "plain" }]
[[package]]
name = "common"
version = "1.0"
source = { directory = "libs/common" }
[[package]]
name = "plain"
version = "1.0"
source = { registry = "https://pypi.org/simple" }
wheels = [{ url = "https://h/plain.whl", hash = "sha256:DIGEST" }]
"""
PACKAGE = {"pyproject.toml": PROJECT, "backend.py": BACKEND}
LIBRARY = {f"libs/common/{name}": text for name, text in PACKAGE.items()}
HASHED = "a lock with hashes, a folder and the source"
CASES = {
    HASHED: (
        {
            **PACKAGE,
            **LIBRARY,
            "requirements.txt": "plain==1.0 --hash=sha256:DIGEST\n-e .\n./libs/common\n",
        },
        {"scoring", "common", "plain", "server"},
    ),
    "uv.lock": ({**PACKAGE, **LIBRARY, "uv.lock": UV_LOCK}, {"scoring", "common", "plain", "server"}),
    "a folder by its name": (
        {**LIBRARY, "requirements/prod.txt": "common @ file:./libs/common\n", "requirements.txt": "-r requirements/prod.txt\n"},
        {"common", "plain", "server"},
    ),
    "a project alone": (PACKAGE, {"scoring", "plain", "server"}),
    "src layout": (
        {**PACKAGE, "src/scoring/__init__.py": "", "src/scoring/templates/a.html": "", "requirements.txt": "plain\n"},
        {"scoring", "plain", "server"},
    ),
    "a list without a build system": (
        {"pyproject.toml": "[project]\nname = 'x'\ndependencies = ['plain>=1']\n"},
        {"plain", "server"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("install", "files", "names"),
    [("uv", *case) for case in CASES.values()] + [("pip", *CASES[HASHED])],
    indirect=["install"],
    ids=[*(f"uv, {name}" for name in CASES), f"pip, {HASHED}"],
)
def test_it_is_installed_from_the_source_of_the_release(install, files, names):
    release = install(files)
    assert set(versions(release)) == names
    # Not editable: the environment has the modules itself.
    assert not list((release / "venv").rglob("__editable__*"))
    for name in names & {"scoring", "common"}:
        (folder,) = virtual_env.site_packages(str(release / "venv"))
        assert (Path(folder) / name / "__init__.py").is_file()
    said = package_data.warning(str(release), [""])
    assert said.startswith("1 file of the source is not in the package" if "src/scoring/__init__.py" in files else "")
    assert ("src/scoring/templates/a.html" in said) == bool(said)


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
    monkeypatch.setattr(installable.shutil, "which", lambda name: None if name == "git" else found(name))
    with pytest.raises(python_env.InstallError) as caught:
        install({"requirements.txt": "plain\nx @ git+https://h/x.git@v1\n"})
    assert caught.value.cause == "requirements.txt, line 2 names a git repository, and this host has no git."
    assert "flask_app_system_packages: [git]" in caught.value.remedy


@pytest.mark.parametrize("install", ["uv", pytest.param("pip", marks=pytest.mark.full)], indirect=True)
def test_what_is_not_what_the_lock_has_is_refused(install):
    with pytest.raises(python_env.InstallError, match="(?i)hash"):
        install({**PACKAGE, **LIBRARY, "uv.lock": UV_LOCK.replace("DIGEST", "0" * 64)})


@pytest.mark.parametrize("install", ["uv"], indirect=True)
def test_what_a_lock_overrides_is_installed_against_the_will_of_packages(install, tmp_path):
    wheel(tmp_path / "index", "picky", metadata="Requires-Dist: plain>=2\n")
    lock = UV_LOCK.replace(
        "[[package]]", "[manifest]\noverrides = [{ name = 'plain', specifier = '==1.0' }]\n[[package]]", 1
    )
    lock = lock.replace('{ name = "plain" }]', '{ name = "plain" }, { name = "picky" }]')
    lock += '[[package]]\nname = "picky"\nversion = "1.0"\nsource = { registry = "https://pypi.org/simple" }\n'
    assert {"picky": "1.0", "plain": "1.0"}.items() <= versions(
        install({**PACKAGE, **LIBRARY, "uv.lock": lock})
    ).items()


@pytest.mark.parametrize("install", ["uv"], indirect=True)
def test_a_lock_of_several_indexes_is_installed_from_all(install, tmp_path):
    """The second index has another version of what the first one has, as those of PyTorch do."""
    second = tmp_path / "second"
    second.mkdir()
    wheel(second, "plain", version="0.9")
    wheel(second, "torch")
    with served(tmp_path / "index") as url, served(second) as other:
        lock = UV_LOCK.replace('{ name = "plain" }]', '{ name = "plain" }, { name = "torch" }]')
        lock += f'[[package]]\nname = "torch"\nversion = "1.0"\nsource = {{ registry = "{other}" }}\n'
        release = install({**PACKAGE, **LIBRARY, "uv.lock": lock}, url)
    assert {"torch": "1.0", "plain": "1.0"}.items() <= versions(release).items()


@pytest.mark.parametrize("install", ["uv", pytest.param("pip", marks=pytest.mark.full)], indirect=True)
def test_a_lock_decides_over_the_versions_of_the_server(install, tmp_path):
    """The lock has plain 1.0, which this gevent does not take; an older one does."""
    wheel(tmp_path / "index", "plain", version="2.0")
    wheel(tmp_path / "index", "gevent", metadata="Requires-Dist: plain>=1\n")
    wheel(tmp_path / "index", "gevent", version="2.0", metadata="Requires-Dist: plain>=2\n")
    more = {
        name.replace("common", "more"): text for name, text in LIBRARY.items()
    }  # pip's reason is then far from its last lines
    lock = UV_LOCK.replace('[{ name = "common" }', '[{ name = "common" }, { name = "more" }')
    lock += '[[package]]\nname = "more"\nversion = "1.0"\nsource = { directory = "libs/more" }\n'
    release = install({**PACKAGE, **LIBRARY, **more, "uv.lock": lock}, server=["server==1.0", "gevent==2.0"])
    assert {"gevent": "1.0", "plain": "1.0", "server": "1.0"}.items() <= versions(release).items()
