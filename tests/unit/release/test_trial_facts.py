# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whatever an app writes where its trial is announced, and however its process ends: an answer, and never a traceback."""

import json
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.pygun.stack.plugins.module_utils.release import trial
from ansible_collections.pygun.stack.plugins.module_utils.release.fit import misfits

FACTS = [
    "workers",
    "own_memory_kb",
    "preload",
    "warnings",
    "gevent",
    "packages",
    "patches",
    "pools",
    "sessions",
    "threads",
]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["\ud800", "\x1b[2J"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FACTS), inner, max_size=4),
    max_leaves=8,
)
lines = st.dictionaries(st.sampled_from(["step", "asks", "problem", "late", "done"]), values, max_size=3).map(
    json.dumps
)
texts = st.lists(lines | st.text(max_size=30) | st.just('{"a":' * 5_000), max_size=4).map("\n".join)


@given(said=texts, output=st.text(max_size=60), code=st.integers(-64, 255), late=st.booleans())
@example(said='{"done": 5}', output="", code=0, late=False)
@example(said='{"done": {"workers": "x", "own_memory_kb": "x"}}', output="", code=0, late=False)
@example(said='{"step": ["a"]}', output="", code=-40, late=False)
@example(said='{"problem": {"a": "\\ud800"}}', output="", code=1, late=False)
@example(said="", output="Traceback (most recent call last)\n\x1b[2J\ud800", code=1, late=False)
def test_any_announcement_is_judged(said, output, code, late):
    outcome = trial._judge(list(trial._announced(said)), output, code, late, 30.0)
    told = {
        "step": outcome.step,
        "problem": outcome.problem,
        "facts": outcome.facts,
        "warnings": trial.warnings_of(outcome.facts),
        "crowd": trial.too_many_workers(outcome.facts, 2, 1 << 30),
        "misfits": misfits(outcome.facts, 2),
    }
    json.dumps(told, ensure_ascii=False, allow_nan=False).encode()
    assert not [char for char in outcome.step + outcome.problem if _acts_on_a_terminal(char)]


def _acts_on_a_terminal(char):
    """By Unicode's own tables: a control, half a character, the end of a line, or a change of the direction of reading."""
    turns = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    return unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(char) in turns


def test_what_a_trial_really_says_is_kept():
    facts = {"workers": 2, "import_s": 0.5, "health": "200 OK", "preload": False, "warnings": ["x"], "own_memory_kb": 3}
    said = list(trial._announced('{"step": "import"}\n' + json.dumps({"done": facts})))
    assert trial._judge(said, "", 0, False, 30.0).facts == facts


@pytest.mark.parametrize("code", [-9, -34, -40, -64])
def test_each_signal_has_a_name(code):
    assert "the process was terminated by " in trial._judge([], "", code, False, 30.0).problem
