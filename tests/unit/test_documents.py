"""What a newcomer reads is complete, leads somewhere, and is what the code says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from plugins.module_utils.diagnosis.symptoms import SYMPTOMS, diagnose
from tools import documents, role_readmes, troubleshooting
from tools.shell import ROOT, output

ANSIBLE_DOC = Path(sys.executable).with_name("ansible-doc")


def filters() -> set[str]:
    """A file of filters has one page for each of them beside it, or one in itself."""
    found = (ROOT / "plugins" / "filter").glob("*.*")
    return {path.stem for path in found if path.suffix == ".yml" or "DOCUMENTATION = " in path.read_text()}


DOCUMENTED = {
    "module": sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py")),
    "filter": sorted(filters()),
    "lookup": sorted(path.stem for path in (ROOT / "plugins" / "lookup").glob("*.py")),
    "role": role_readmes.roles(),
}


def name_of(path: object) -> str:
    """How a failure names a file of the repository."""
    return str(path.relative_to(ROOT)) if isinstance(path, Path) else ""


@pytest.mark.parametrize("path, text", documents.texts().items(), ids=name_of)
def test_what_is_written_from_another_file_is_what_that_file_says(path: Path, text: str) -> None:
    assert path.read_text() == text, "run `make docs`"


@pytest.mark.parametrize("kind", DOCUMENTED)
def test_ansible_doc_shows_every_plugin_and_role(kind: str) -> None:
    names = [f"pygun.stack.{name}" for name in DOCUMENTED[kind]]
    variables = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [ANSIBLE_DOC, "--type", kind, *names], cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "pygun.stack" not in done.stderr, done.stderr
    shown = re.findall(rf"^> {kind.upper()}:? (\S+)", re.sub(r"\x1b\[[0-9;]*m", "", done.stdout), re.MULTILINE)
    assert sorted(shown) == names


def test_ansible_doc_is_asked_for_every_kind_of_plugin_that_it_can_show() -> None:
    silent = {"action", "doc_fragments", "module_utils", "plugin_utils"}
    kinds = {path.name for path in (ROOT / "plugins").iterdir() if any(path.glob("*.py"))} - silent
    assert {kind.removesuffix("s") for kind in kinds} | {"role"} == set(DOCUMENTED)


@pytest.mark.parametrize("symptom", SYMPTOMS, ids=lambda symptom: symptom.code)
def test_the_troubleshooting_page_shows_a_line_for_every_entry_of_the_table(symptom) -> None:
    lines = [
        line
        for source, said in troubleshooting.SAID.items()
        for line in said
        if re.search(symptom.pattern, line, re.MULTILINE) and diagnose(line, source).code == symptom.code
    ]
    assert lines, f"tools/troubleshooting.py has no line of {symptom.code} ({symptom.source})"


PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("roles/*/README.md"), ROOT / "app" / "README.md"]
GUIDES = sorted(ROOT.glob("docs/docsite/rst/*.rst"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_link_between_files_leads_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        if "://" not in target:
            name, _sign, anchor = target.partition("#")
            there = page.parent / name if name else page
            assert there.exists(), target
            assert not anchor or anchor in anchors(there), target


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_a_link_of_a_guide_leads_there(page: Path) -> None:
    """docs/conf.py makes links of the site of them: a guide is read on GitHub too."""
    for target in re.findall(r"<([^>\s]+)>`__|^\.\. image:: (\S+)", page.read_text(), re.MULTILINE):
        name = "".join(target).partition("#")[0]
        if "://" not in name:
            assert (page.parent / name).exists(), name


def test_the_site_shows_every_guide_in_the_order_of_the_collection() -> None:
    """docs/index.rst is the first page here, extra-docs.yml makes one elsewhere."""
    sections = yaml.safe_load((ROOT / "docs" / "docsite" / "extra-docs.yml").read_text())["sections"]
    names = [name for section in sections for name in section["toctree"]]
    assert re.findall(r"^   docsite/(\w+)$", (ROOT / "docs" / "index.rst").read_text(), re.MULTILINE) == names
    assert sorted(names) == [page.stem for page in GUIDES]


@pytest.mark.skipif(not (ROOT / "plugins/module_utils/activation").is_dir(), reason="the floors are not there yet")
def test_every_file_that_the_architecture_names_is_there() -> None:
    files = [f"/{path}" for path in output("git", "ls-files", cwd=ROOT).splitlines()]
    named = re.findall(r"`([\w./-]+\.(?:py|yml|j2|rst|in))`", (ROOT / "docs" / "ARCHITECTURE.md").read_text())
    assert len(named) > 80
    missing = {name for name in named if not any(path.endswith(f"/{name}") for path in files)} - {"pygun.py"}
    assert not missing


def without_code(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """How GitHub names the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_picture_can_be_read_and_needs_nothing_from_elsewhere() -> None:
    picture = ElementTree.parse(ROOT / "docs" / "architecture.svg").getroot()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    used = [value for part in picture.iter() for value in part.attrib.values() if "url(" in value or "://" in value]
    assert set(used) == {"url(#arrow)"}
