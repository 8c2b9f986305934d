"""A project in the source that asks git for its version gets one, unless it knows another."""

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.release import source_versions

PROJECT = "[project]\nname = 'My.shop'\ndynamic = ['version']\n[build-system]\nrequires = ['{}']\n"
SCM = PROJECT.format("setuptools-scm>=8")


@pytest.mark.parametrize(
    ("files", "asks"),
    [
        ({"pyproject.toml": SCM}, True),
        ({"pyproject.toml": PROJECT.format("hatch-vcs")}, False),
        ({"pyproject.toml": PROJECT.format("setuptools") + "[tool.setuptools_scm]\n"}, True),
        ({"pyproject.toml": PROJECT.format("setuptools")}, False),
        ({"pyproject.toml": SCM + "[tool.setuptools_scm]\nfallback_version = '2'\n"}, False),
        ({"pyproject.toml": SCM, "PKG-INFO": ""}, False),
        ({"pyproject.toml": SCM.replace("dynamic", "keywords")}, False),
        ({"pyproject.toml": "project = 5\ntool = [1]\n"}, False),
        ({"pyproject.toml": "[project\n"}, False),
        ({}, False),
    ],
)
def test_only_a_project_that_would_ask_git_gets_a_version(tmp_path, files, asks):
    folder = tmp_path / "libs" / "shop"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    wanted = {"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_MY_SHOP": "0.0.0"} if asks else {}
    assert source_versions.environment_for(str(tmp_path), ["libs/shop", "wheels/x.whl"]) == wanted
    said = source_versions.warning(source_versions.projects(str(tmp_path), ["libs/shop"]))
    assert said.startswith("The version of My.shop is 0.0.0 here") if asks else said == ""


def test_the_folders_of_the_source_that_requirements_name_are_found():
    texts = ["x @ file://${PROJECT_ROOT}/libs/x[a] ; os_name == 'nt'", "${PROJECT_ROOT}", "flask"]
    assert source_versions.folders_in(texts) == {"libs/x", ""}


def test_a_project_is_parsed_once_though_its_release_moves(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "pyproject.toml").write_text(SCM)
    parsed, loads = [], source_versions.tomllib.loads
    monkeypatch.setattr(source_versions.tomllib, "loads", lambda text: parsed.append(text) or loads(text))
    assert source_versions.projects(str(tmp_path), ["a"]) == ["My.shop"]
    (tmp_path / "a").rename(tmp_path / "b")
    assert source_versions.projects(str(tmp_path), ["b"]) == ["My.shop"]
    assert len(parsed) == 1
    (tmp_path / "b" / "pyproject.toml").write_text(SCM + "\n")
    assert source_versions.projects(str(tmp_path), ["b"]) == ["My.shop"]
    assert len(parsed) == 2
