"""What a newcomer reads is complete, leads somewhere, and is what the code says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from plugins.module_utils.diagnosis import SYMPTOMS, diagnose
from tools import documents, role_readmes, troubleshooting
from tools.shell import ROOT

ANSIBLE_DOC = Path(sys.executable).with_name("ansible-doc")
DOCUMENTED = {
    "module": sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py")),
    "filter": sorted(path.stem for path in (ROOT / "plugins" / "filter").glob("*.py")),
    "role": role_readmes.roles(),
}


@pytest.mark.parametrize("path, text", documents.texts().items(), ids=lambda value: getattr(value, "name", ""))
def test_what_is_written_from_another_file_is_what_that_file_says(path: Path, text: str) -> None:
    assert path.read_text() == text, "run `make docs`"


@pytest.mark.parametrize("kind", DOCUMENTED)
def test_ansible_doc_shows_every_plugin_and_role(kind: str) -> None:
    names = [f"pygun.stack.{name}" for name in DOCUMENTED[kind]]
    variables = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [ANSIBLE_DOC, "--type", kind, *names], cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
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


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *ROOT.glob("roles/*/README.md"), ROOT / "app" / "README.md"], ids=str)
def test_a_link_between_files_leads_to_a_file(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target and not target.startswith("#"):
            assert (page.parent / target.partition("#")[0]).exists(), target
