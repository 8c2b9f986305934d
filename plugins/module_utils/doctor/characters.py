# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find characters that are invisible, or that look like others, in files that people write."""

from __future__ import annotations

import re
import unicodedata

#: Characters that no editor shows and every parser takes seriously.
HIDDEN = re.compile("[\\r\\u00a0\\u00ad\\u1680\\u2000-\\u200f\\u2028-\\u202f\\u205f-\\u2064\\u3000\\ufeff]")
#: Typographic quotes, which word processors write instead of plain ones; Unicode does not fold them.
_QUOTES = {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'}


def find_hidden(path: str, text: str) -> tuple[int, re.Match[str]] | None:
    """The first hidden character of a file, comments aside: the number of its line, and the match in that line."""
    for number, line in enumerate(text.split("\n"), 1):
        found = find_hidden_in_variable(line) if path.endswith(".env") else HIDDEN.search(line)
        if found and (not line.lstrip().startswith((";", "#")) or found.group() == "\r"):
            return number, found
    return None


def find_hidden_in_variable(line: str) -> re.Match[str] | None:
    """The same in a line of an environment file: blanks around a line do not count, and a value may have any character inside."""
    value = re.match(r"""\s*\ufeff?(?:export\s+)?\w+\s*=\s*(["'])(.*)\1\s*(?:#.*)?$""", line)
    inside = range(value.start(2) + 1, value.end(2) - 1) if value else range(0)
    start = len(line) - len(line.lstrip().removeprefix("\ufeff"))
    comment = re.search(r"\s#", line[value.end(2) if value else 0 :])
    end = comment.start() + (value.end(2) if value else 0) if comment else len(line.rstrip())
    for found in HIDDEN.finditer(line, start, end):
        if found.start() not in inside:
            return found
    return None


def find_lookalike(path: str, text: str) -> list[str]:
    """The first character of a file, comments aside, that looks like one of ASCII and is another: its line and code point."""
    for number, line in enumerate(text.split("\n"), 1):
        for column, character in enumerate(line, 1):
            plain = character if character.isascii() else unicodedata.normalize("NFKC", character)
            plain = _QUOTES.get(character, plain)
            if character != plain and plain.isascii() and plain.strip() and not line.startswith((";", "#")):
                name = unicodedata.name(character, "")
                return [
                    f"{path}, line {number}, column {column}: U+{ord(character):04X} {name} is in the place of {plain}"
                ]
    return []
