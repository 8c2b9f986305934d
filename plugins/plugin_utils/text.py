# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find invisible characters, and format values for messages."""

from __future__ import annotations

import unicodedata

from ..module_utils.host.logins import masked

#: Unicode's categories of invisible characters: control, format, surrogate, separators.
_UNSEEN = {"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"}
_NAMES = {0: "NUL", 9: "TAB", 10: "LINE FEED", 13: "CARRIAGE RETURN", 27: "ESCAPE", 127: "DELETE"}
_SHOWN_AT_MOST = 70


def unseen(text: str, allowed: str = "") -> list[str]:
    """Where ``text`` has characters that cannot be seen, such as ``line 2, column 7: U+200B ZERO WIDTH SPACE``.

    :param allowed: characters that are welcome besides the plain space
    """
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if number > 1 and "\n" not in allowed:
            found.append(f"line {number - 1}, at its end: U+000A LINE FEED")
        for column, character in enumerate(line, 1):
            if character not in " " + allowed and unicodedata.category(character) in _UNSEEN:
                found.append(f"line {number}, column {column}: {code_point(character)}")
    return found


def foreign(text: str) -> str:
    """The first character that is not ASCII, with the ASCII character that it looks like; empty when there is none."""
    for column, character in enumerate(text, 1):
        if not character.isascii():
            plain = _LOOKALIKES.get(character) or unicodedata.normalize("NFKC", character)
            hint = f" (in place of {plain})" if plain.isascii() and plain.strip() else ""
            return f"column {column}: {code_point(character)}{hint}"
    return ""


_LOOKALIKES = dict(zip("\u2018\u2019\u201c\u201d\u2013\u2014\u2212\u3002\u3001", "''\"\"---.,"))  # noqa: B905  (Python 3.9)


def code_point(character: str) -> str:
    """A character as Unicode names it."""
    number = ord(character)
    name = unicodedata.name(character, "") or _NAMES.get(number, "control character" if number < 160 else "")
    return f"U+{number:04X} {name}".rstrip()


def serves(name: str, host: str, how: str, release: str, bind: str | None) -> str:
    """The sentence of a play on the release that a host serves; *how* is ``now`` or ``already``."""
    return f"{name}: {host} {how} serves release {release}" + (f" at {bind}." if bind else ".")


def shown(value: object) -> str:
    """A value as a message shows it: on one line, not too long, without the password of an address."""
    text = masked(str(value))
    if len(text) > _SHOWN_AT_MOST:
        text = f"{text[:_SHOWN_AT_MOST]}... ({len(str(value))} characters)"
    return repr(text) if isinstance(value, str) else text


def size(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
