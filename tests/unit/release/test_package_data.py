"""What a project in the source does not declare as its data is named: an editable installation would have had it."""

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.release import package_data


@pytest.fixture(name="warned")
def warned_fixture(tmp_path):
    def run(source, installed, folders, settings=""):
        site = tmp_path / "environment" / "lib" / "python3.11" / "site-packages"
        for root, names in ((tmp_path / "src", source), (site, installed)):
            for name in names:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).touch()
        (tmp_path / "venv").symlink_to("environment")
        (tmp_path / "pygun.py").write_text(settings)
        return package_data.warning(str(tmp_path), folders)

    return run


SHOP = ["src/shop/__init__.py", "src/shop/templates/index.html", "src/shop/static/x.css", "src/shop/tests/x.json"]
INSTALLED = ["shop/__init__.py"]


def test_files_that_a_package_in_src_layout_lacks_are_named(warned):
    said = warned(SHOP, INSTALLED, [""])
    assert said.startswith("2 files of the source are not in the package")
    assert "such as src/shop/static/x.css:" in said
    assert "tool.setuptools.package-data" in said and "{pythonpath: src}" in said


@pytest.mark.parametrize(
    ("source", "installed", "folders", "settings"),
    [
        (SHOP, [*INSTALLED, "shop/templates/index.html", "shop/static/x.css"], [""], ""),
        (SHOP, INSTALLED, [""], "bind = 'x'\npythonpath = 'src'\n"),
        (SHOP, INSTALLED, [], ""),
        (["shop/__init__.py", "shop/templates/index.html"], INSTALLED, [""], ""),
        (["src/shop/__init__.py", "src/shop/notes.md", "src/shop/x.pyx"], INSTALLED, [""], ""),
        (["src/other/__init__.py", "src/other/x.json"], INSTALLED, [""], ""),
    ],
    ids=["declared", "by path", "not installed", "flat layout", "no data", "another package"],
)
def test_nothing_is_said_of_what_the_app_finds(warned, source, installed, folders, settings):
    assert warned(source, installed, folders, settings) == ""


def test_a_library_of_the_source_and_a_namespace_are_looked_at(warned):
    source = ["libs/common/common/sql/q.sql", "src/team/shop/x.yml"]
    said = warned(source, ["common/__init__.py", "team/shop/__init__.py"], ["libs/common", ""])
    assert said.startswith("2 files of the source are") and "libs/common/common/sql/q.sql" in said


def test_no_link_is_followed(warned, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.json").touch()
    (tmp_path / "src" / "src").mkdir(parents=True)
    (tmp_path / "src" / "src" / "shop").symlink_to(tmp_path / "elsewhere")
    assert warned([], INSTALLED, [""]) == ""
