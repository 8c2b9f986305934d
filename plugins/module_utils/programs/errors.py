# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a change of programs fails."""

from __future__ import annotations

import typing as t


class ProgramsError(Exception):
    """The programs are not as declared. ``facts`` are the fields that the module returns besides the message."""

    def __init__(self, message: str, **facts: t.Any) -> None:
        super().__init__(message)
        self.facts = facts


class NotStarted(Exception):
    """A program did not come up; the way back begins here."""

    def __init__(self, why: str, program: str = "", log: t.Sequence[str] = (), log_file: str = "") -> None:
        super().__init__(why)
        self.program = program
        self.log = list(log)
        self.log_file = log_file
