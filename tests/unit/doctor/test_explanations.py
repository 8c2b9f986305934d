"""The table of explanations names findings that exist, and every finding has a test of its own."""

import ast
from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.diagnosis.symptoms import SYMPTOMS
from ansible_collections.pygun.stack.plugins.module_utils.doctor import explanations
from ansible_collections.pygun.stack.plugins.module_utils.doctor.findings import ERROR, Finding

HERE = Path(__file__).parent
SOURCES = Path(explanations.__file__).parent.glob("*.py")
CALLS = [
    node
    for path in SOURCES
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Finding", "from_table")
]


def texts(node):
    """The texts that an expression may be."""
    if isinstance(node, ast.IfExp):
        return texts(node.body) | texts(node.orelse)
    return {node.value} if isinstance(node, ast.Constant) else set()


CODES = {code for call in CALLS if call.func.id == "Finding" for code in texts(call.args[1])}
KINDS = {kind for call in CALLS for word in call.keywords if word.arg == "kind" for kind in texts(word.value)}
OF_THE_TABLE = {symptom.code for symptom in SYMPTOMS if symptom.source == "supervisord"}
TESTS = "".join(path.read_text(encoding="utf-8") for path in HERE.glob("test_*_checks.py"))


def test_the_source_names_its_codes_plainly():
    assert len(CODES) > 40
    unknown = [call for call in CALLS if call.func.id == "Finding" and not texts(call.args[1])]
    assert len(unknown) == 1  # from_table


@pytest.mark.parametrize("code", sorted(CODES | OF_THE_TABLE - {"supervisor-second"}))
def test_every_finding_has_a_test(code):
    assert f'"{code}"' in TESTS


@pytest.mark.parametrize("kind", explanations.EXPLAINED_BY)
def test_the_table_names_findings_that_exist(kind):
    assert kind in CODES | KINDS
    for _where, codes in explanations.EXPLAINED_BY[kind]:
        assert set(codes) <= CODES | OF_THE_TABLE


def finding(code, **fields):
    return Finding(ERROR, code, fields.pop("subject", "x"), code, "", "", **fields)


def test_a_finding_that_is_left_out_explains_others_all_the_same():
    """Nobody can read the file, so supervisor refuses it, so its unit fails."""
    chain = [finding("hidden-character"), finding("supervisor-value", kind="parser"), finding("unit-failed")]
    assert [left.code for left in explanations.explain(chain)] == ["hidden-character"]
    assert [left.code for left in explanations.explain(chain[1:])] == ["supervisor-value"]


def test_no_finding_explains_itself():
    alone = [finding("out-of-memory", kind="memory")]
    assert explanations.explain(alone) == alone
