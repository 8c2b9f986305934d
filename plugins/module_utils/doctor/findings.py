# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Findings: the problems that checks report."""

from __future__ import annotations

import dataclasses

from ..diagnosis.symptoms import Diagnosis
from ..host import foreign

ERROR = "error"
WARNING = "warning"
#: The fields that users see.
_SHOWN = ("severity", "code", "subject", "symptom", "cause", "remedy")


@dataclasses.dataclass
class Finding:
    """One thing that is wrong. ``subject`` is the app, file, process or part of the host that it is about.

    The fields after ``remedy`` are for `explanations`; users do not see them.
    """

    severity: str
    code: str
    subject: str
    symptom: str
    cause: str
    remedy: str
    #: The name that explanations use. A check that takes its codes from the table of symptoms gives all of them one name.
    kind: str = ""
    #: The app that it is about, if it is about one.
    app: str = ""
    #: The file or directory that is missing.
    missing: str = ""
    #: A text that the findings which explain this one add to their symptom, since this one is not shown.
    consequence: str = ""
    #: Whether the symptom names the unit already.
    names_unit: bool = False

    def __post_init__(self) -> None:
        self.kind = self.kind or self.code

    def shown(self) -> dict[str, str]:
        """The fields that users see, without control characters of terminals."""
        return {name: foreign.printable_lines(getattr(self, name)) for name in _SHOWN}


def from_table(known: Diagnosis, subject: str, symptom: str, kind: str) -> Finding:
    """A finding straight from the table of symptoms."""
    severity = WARNING if known.code == "supervisor-root" else ERROR
    return Finding(severity, known.code, subject, symptom, known.cause, known.remedy, kind=kind)
