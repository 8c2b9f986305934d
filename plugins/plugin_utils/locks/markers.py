# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Environment markers (PEP 508) as a disjunction of conjunctions, evaluated as far as all hosts agree.

A marker here is a set of conjunctions, each a set of comparisons: ``ALWAYS`` is one conjunction without a comparison, ``NEVER`` is none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from ...module_utils.resolved import normalize

Marker = frozenset[frozenset[str]]

ALWAYS: Marker = frozenset([frozenset()])
NEVER: Marker = frozenset()
#: Above this number of conjunctions, an operand of "and" counts as one comparison.
_LARGEST = 64
#: Values that all hosts have: Debian, and its interpreter.
_KNOWN = {
    "os_name": "posix",
    "sys_platform": "linux",
    "sys.platform": "linux",
    "platform_system": "Linux",
    "platform_python_implementation": "CPython",
    "python_implementation": "CPython",
    "implementation_name": "cpython",
}
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'[^']*'|"[^"]*")|(?P<operator>===|[<>=!~]=|[<>]|\(|\))|(?P<word>[A-Za-z_.]+))""", re.VERBOSE
)


class MarkerError(ValueError):
    """The text is not a marker."""


@dataclass(frozen=True)
class Chosen:
    """The extras and the dependency groups that are installed; ``texts`` are further values that ``extra`` has."""

    extras: Collection[str] = ()
    groups: Collection[str] = ()
    texts: Collection[str] = field(default=())

    def has(self, variable: str, value: str) -> bool:
        if variable == "dependency_groups":
            return normalize(value) in map(normalize, self.groups)
        return value in self.texts or normalize(value) in map(normalize, self.extras)


#: No extra and no group.
NONE = Chosen()


def parse(text: str, chosen: Chosen = NONE) -> Marker:
    """The marker that a text says; an empty text is one that always holds.

    :raises MarkerError: when the text is no marker
    """
    if not text.strip():
        return ALWAYS
    parser = _Parser(text, chosen)
    found = parser.disjunction()
    if parser.tokens:
        raise MarkerError(text)
    return found


def any_of(markers: Iterable[Marker]) -> Marker:
    """The marker that holds when one of these does."""
    found = {part for marker in markers for part in marker}
    return frozenset(part for part in found if not any(other < part for other in found))


def both(one: Marker, other: Marker) -> Marker:
    """The marker that holds when these two do."""
    if len(one) * len(other) > _LARGEST:
        one, other = (
            frozenset([frozenset([f"({text_of(marker)})"])]) if len(marker) > 1 else marker for marker in (one, other)
        )
    return any_of([frozenset(a | b for a in one for b in other)])


def text_of(marker: Marker) -> str:
    """The marker as a requirement has it; empty when it always holds."""
    parts = sorted(" and ".join(sorted(part)) for part in marker)
    if len(parts) < 2:
        return "".join(parts)
    return " or ".join(f"({part})" if " and " in part and not part.startswith("(") else part for part in parts)


class _Parser:
    def __init__(self, text: str, chosen: Chosen) -> None:
        self.text, self.chosen, self.tokens = text, chosen, []
        place = 0
        while place < len(text.rstrip()):
            match = _TOKEN.match(text, place)
            if not match:
                raise MarkerError(text)
            self.tokens.append(match[match.lastgroup])
            place = match.end()

    def _next(self) -> str:
        if not self.tokens:
            raise MarkerError(self.text)
        return self.tokens.pop(0)

    def _takes(self, word: str) -> bool:
        if self.tokens[:1] == [word]:
            self.tokens.pop(0)
            return True
        return False

    def disjunction(self) -> Marker:
        parts = [self._conjunction()]
        while self._takes("or"):
            parts.append(self._conjunction())
        return any_of(parts)

    def _conjunction(self) -> Marker:
        found = self._comparison()
        while self._takes("and"):
            found = both(found, self._comparison())
        return found

    def _comparison(self) -> Marker:
        if self._takes("("):
            found = self.disjunction()
            if not self._takes(")"):
                raise MarkerError(self.text)
            return found
        left, operator = self._next(), self._next()
        if operator == "not":
            operator = f"not {self._next()}"
        right = self._next()
        if operator not in ("<", "<=", ">", ">=", "==", "!=", "~=", "===", "in", "not in"):
            raise MarkerError(self.text)
        holds = self._known(left, operator, right)
        if holds is not None:
            return ALWAYS if holds else NEVER
        return frozenset([frozenset([f"{_quoted(left)} {operator} {_quoted(right)}"])])

    def _known(self, left: str, operator: str, right: str) -> bool | None:
        """Whether a comparison holds on every host, or on none; None when that depends on the host."""
        for variable, value in ((left, right), (right, left)):
            if value[0] in "'\"" and variable in ("extra", "extras", "dependency_groups"):
                return self.chosen.has(variable, value[1:-1]) != (operator in ("!=", "not in"))
        one, other = (side[1:-1] if side[0] in "'\"" else _KNOWN.get(side) for side in (left, right))
        if one is None or other is None:
            return None
        if operator in ("==", "===", "!="):
            return (one == other) != (operator == "!=")
        return (one in other) != (operator == "not in") if operator.endswith("in") else None


def _quoted(side: str) -> str:
    return f"'{side[1:-1]}'" if side[0] in "'\"" and "'" not in side[1:-1] else side
