# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What no installer can mean is found in requirement files; what both read over is left alone."""

from __future__ import annotations

import pytest

from ansible_collections.pygun.stack.plugins.plugin_utils.requirement_files import strange

BAD = {
    "a no-break space": ("flask\u00a0==3.1.2\n", "line 1, column 6: U+00A0 NO-BREAK SPACE."),
    "a full-width space": ("x\nflask\u3000==3.1.2\n", "line 2, column 6: U+3000 IDEOGRAPHIC SPACE."),
    "a zero-width space": ("fl\u200bask\n", "line 1, column 3: U+200B ZERO WIDTH SPACE."),
    "a byte order mark inside": ("a\n\ufeffflask\n", "line 2, column 1: U+FEFF ZERO WIDTH NO-BREAK SPACE."),
    "full-width signs": ("flask＝＝3.1.2\n", "line 1, column 6: U+FF1D FULLWIDTH EQUALS SIGN (in place of =)."),
    "a curly quote": ("flask; python_version < “3.13”\n", 'U+201C LEFT DOUBLE QUOTATION MARK (in place of ").'),
    "a carriage return inside": ("flask\rgevent\n", "line 1, column 6: U+000D CARRIAGE RETURN."),
}


@pytest.mark.parametrize("text, said", BAD.values(), ids=BAD.keys())
def test_it_is_named_by_line_column_and_code_point(tmp_path, text, said):
    file = tmp_path / "requirements.txt"
    file.write_bytes(text.encode())
    (found,) = strange(file)
    assert found.startswith(f"{file}, line ")
    assert said in found
    assert "Type the line again." in found


def test_another_encoding_is_told(tmp_path):
    file = tmp_path / "requirements.txt"
    file.write_bytes(b"flask\ngevent # f\xfcr alle\n")
    assert list(strange(file)) == [f"{file}, line 2 is not UTF-8. Save the file in that encoding."]


def test_the_files_that_it_names_are_read_too_and_each_once(tmp_path):
    (tmp_path / "a.txt").write_text("-r b.txt\n--constraint=c.txt\n-r https://example.com/x.txt\n-r missing.txt\n")
    (tmp_path / "b.txt").write_text("-r a.txt\nfl\u200bask\n")
    (tmp_path / "c.txt").write_text("gevent\u2060\n")
    found = list(strange(tmp_path / "a.txt"))
    assert [text.split(",")[0].rpartition("/")[2] for text in found] == ["b.txt", "c.txt"]


def test_what_installers_read_over_is_left_alone(tmp_path):
    text = "\ufeffflask==3.1.2 # für\u00a0alle\r\n\tgevent\r\n# \u200b\r\n./wheels/größe.whl --hash=sha256:00\r\n"
    (tmp_path / "requirements.txt").write_bytes(text.encode())
    assert list(strange(tmp_path / "requirements.txt")) == []
