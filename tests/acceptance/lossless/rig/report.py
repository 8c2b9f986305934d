# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was measured: a file for machines, tables for people."""

from __future__ import annotations

import json
from typing import Any

from rig.host import ROOT
from rig.load import Load, by_error

FILE = ROOT / ".cache" / "reports" / "lossless.json"


class Report:
    def __init__(self, full: bool) -> None:
        self.document: dict[str, Any] = {"full": full, "figures": [], "kinds": {}}

    def figure(self, what: str, load: Load, note: str = "", **facts: Any) -> None:
        """One line of the table."""
        totals = {key: load.totals[key] for key in ("sent", "failed", "close_race")}
        self.document["figures"].append(
            {"what": what, **totals, "errors": by_error(load.samples), "note": note, **facts}
        )

    def kinds(self, what: str, load: Load) -> None:
        """The figures of every kind of request, during rolls and outside of them."""
        self.document["kinds"][what] = {
            "totals": load.totals,
            "rolls": load.result["rolls"],
            "kinds": load.result["kinds"],
        }

    def write(self) -> None:
        FILE.parent.mkdir(parents=True, exist_ok=True)
        FILE.write_text(json.dumps(self.document, indent=2) + "\n")

    def lines(self) -> list[str]:
        """Tables."""
        found: list[str] = []
        if self.document["figures"]:
            row = "{:<58} {:>7} {:>7} {:>6}  {}"
            found.append(row.format("under load", "sent", "failed", "races", ""))
            for one in self.document["figures"]:
                errors = ", ".join(f"{count} {name}" for name, count in one["errors"].items())
                note = "; ".join(part for part in (one["note"], errors) if part)
                found.append(row.format(one["what"], one["sent"], one["failed"], one["close_race"], note).rstrip())
        for what, result in self.document["kinds"].items():
            row = "{:<10} {:>7} {:>7} | {:>7} {:>9} {:>9} | {:>7} {:>9} {:>9}"
            found += [
                "",
                f"{what}: milliseconds on top of what the answer takes by its nature",
                row.format("", "", "", "during", "rolls", "", "outside", "", ""),
                row.format("kind", "sent", "failed", "sent", "p50", "p99", "sent", "p50", "p99"),
            ]
            for name, kind in result["kinds"].items():
                cells = []
                for part in ("during_rolls", "outside_rolls"):
                    delay = kind[part]["delay_ms"] or {"p50": "-", "p99": "-"}
                    cells += [kind[part]["sent"], delay["p50"], delay["p99"]]
                found.append(row.format(name, kind["sent"], kind["failed"], *cells))
        return found
