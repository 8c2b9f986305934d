# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The extras and dependency groups that a deploy asks for by name (``flask_app_extras``)."""

from __future__ import annotations

from collections.abc import Iterable

from ...module_utils.resolved import normalize
from ..requirement_files import Refused


class Wanted:
    """Names of extras and groups, and which of them some file has."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = list(names)
        self.used: list[str] = []
        self._seen: set[str] = set()

    def take(self, known: Iterable[str]) -> list[str]:
        """Those of the known names that are wanted."""
        known = list(known)
        self._seen.update(known)
        wanted = set(map(normalize, self.names))
        found = [name for name in known if normalize(name) in wanted]
        self.used += [name for name in found if name not in self.used]
        return found

    def take_all(self) -> list[str]:
        """All names, for a file that does not say which it has."""
        self.used += self.names
        return self.names

    def refuse_unknown(self, files: list[str]) -> None:
        """Refuse a name that no file has.

        :param files: names of the files that were read
        :raises Refused: with the names that there are
        """
        used = set(map(normalize, self.used))
        for name in self.names:
            if normalize(name) not in used:
                there = f"has only {', '.join(sorted(self._seen))}" if self._seen else "has none"
                raise Refused(
                    f"flask_app_extras names {name}, and {' and '.join(files) or 'the source'} {there}. Correct the name, or take it out."
                )
