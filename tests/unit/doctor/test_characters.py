# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Characters that nobody sees, and those that look like others, are named; what its reader takes as it is meant is not."""

from __future__ import annotations

import pytest

from ansible_collections.pygun.stack.plugins.module_utils.doctor.characters import find_lookalike
from ansible_collections.pygun.stack.plugins.module_utils.doctor.configuration import check_hidden_characters
from ansible_collections.pygun.stack.plugins.module_utils.doctor.state import Configuration, HostState, Options
from pygun_runtime import env_file


def findings(name, text):
    state = HostState(Options(), Configuration("x", files={name: text}))
    return [finding.symptom.partition(", ")[2] for finding in check_hidden_characters(state)]


HIDDEN = {
    "a no-break space": ("autostart=true\u00a0\n", "line 1, column 15: U+00A0"),
    "a zero-width space": ("[program:x]\nauto\u200bstart=true\n", "line 2, column 5: U+200B"),
    "a word joiner": ("x=\u2060y\n", "line 1, column 3: U+2060"),
    "a full-width space": ("x\u3000=y\n", "line 1, column 2: U+3000"),
    "a byte order mark": ("\ufeff[program:x]\n", "line 1, column 1: U+FEFF"),
    "a Windows line end": ("; x\r\nx=y\r\n", "line 1, column 4: U+000D (Windows line end)"),
}


@pytest.mark.parametrize("text, said", HIDDEN.values(), ids=HIDDEN.keys())
def test_a_hidden_character_of_a_configuration_file_is_named(text, said):
    assert findings("x.conf", text) == [said]


def test_a_comment_may_hold_what_it_likes():
    assert findings("x.conf", "; für\u00a0alle\n# \u200b\nx=y\n") == []


MEANT = {
    'A="👩\u200d🔬 in\u00a0between"': "👩\u200d🔬 in\u00a0between",
    "A='x\u3000y'": "x\u3000y",
    '\ufeffA="b"': "b",
    'A="b"\r': "b",
    "export A='x'\u00a0": "x",
    "A=b # x\u00a0y": "b",
}


@pytest.mark.parametrize("line", MEANT)
def test_what_the_environment_file_means_is_not_told(line):
    """The reader of the file takes it all."""
    assert findings("x.env", f"{line}\n") == []
    assert env_file.parse(f"{line}\n") == {"A": MEANT[line]}


STRANGE = {
    'A="\u200bb"': "line 1, column 4: U+200B",
    "A='b\u00a0'": "line 1, column 5: U+00A0",
    "A=b\u200b": "line 1, column 4: U+200B",
    "A\u200b=b": "line 1, column 2: U+200B",
}


@pytest.mark.parametrize("line", STRANGE)
def test_what_nobody_means_in_an_environment_file_is_named(line):
    assert findings("x.env", f"{line}\n") == [STRANGE[line]]


def test_a_lookalike_is_named():
    text = "; ＝\n[program:x]\ncommand=/bin/ä\nautostart＝true\n"
    assert find_lookalike("x.conf", text) == [
        "x.conf, line 4, column 10: U+FF1D FULLWIDTH EQUALS SIGN is in the place of ="
    ]
    assert "U+201C LEFT DOUBLE QUOTATION MARK" in find_lookalike("x.conf", "x=\u201ctrue\u201d\n")[0]
    assert find_lookalike("x.conf", "command=/bin/ä\n") == []
