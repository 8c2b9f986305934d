# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The steps of an uninstallation, in their order."""

from __future__ import annotations

import os
import typing as t

from . import footprint
from .footprint import Thing, standing


class Plan:
    """The things to remove, in their order."""

    def __init__(self) -> None:
        self.processes: list[str] = []
        self.accounts: list[tuple[str, str]] = []
        self.things: list[Thing] = []
        self._gone: set[str] = set()
        self._kept: list[str] = []
        self.kept_accounts: list[str] = []

    def add(self, things: t.Iterable[Thing]) -> None:
        """Go through things in the order in which they are removed: a folder goes if all that is in it went before."""
        for thing in standing(things):
            if thing.kind in footprint.IF_EMPTY:
                rest = [os.path.join(thing.path, name) for name in sorted(os.listdir(thing.path))]
                rest = [path for path in rest if path not in self._gone]
                if rest:
                    self._kept += rest if thing.kind == "empty" else []
                    continue
            self._gone.add(thing.path)
            self.things.append(thing)

    @property
    def left(self) -> list[str]:
        """The files that stay in our folders: data without `uninstall_data`, and the files of others."""
        paths = {path.removesuffix(footprint.ASIDE) for path in self._kept if path not in self._gone}
        return [*sorted(paths), *dict.fromkeys(self.kept_accounts)]

    def lines(self) -> list[str]:
        """Each thing and account on a line."""
        return [
            *dict.fromkeys(thing.text for thing in self.things),
            *(f"{kind} {name}" for kind, name in self.accounts),
        ]

    def __bool__(self) -> bool:
        return bool(self.processes or self.accounts or self.things)
