# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The phrases by which a log is understood are those that the runtime prints, and stand in one place of each side."""

from pathlib import Path

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.diagnosis import phrases
from pygun_runtime import phrases as of_the_runtime

RUNTIME = Path(of_the_runtime.__file__).parent
NAMES = sorted(name for name in vars(of_the_runtime) if name.isupper())
#: Words that are too common to be looked for in the source.
COMMON = {"ANSWERED", "RAISED"}
#: What faulthandler prints, and we do not.
UPSTREAM = {"STACKS"}


def test_both_sides_have_the_same_phrases():
    assert NAMES == sorted(name for name in vars(phrases) if name.isupper())
    assert [getattr(phrases, name) for name in NAMES] == [getattr(of_the_runtime, name) for name in NAMES]


@pytest.mark.parametrize("name", sorted({*NAMES} - UPSTREAM))
def test_the_runtime_prints_a_phrase_by_its_name(name):
    sources = {path.name: path.read_text() for path in RUNTIME.glob("*.py") if path.name != "phrases.py"}
    assert any(f"phrases.{name}" in source for source in sources.values())
    if name not in COMMON:
        assert [file for file, source in sources.items() if getattr(phrases, name) in source] == []
