# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Give each worker an accelerator of its own, in the variable that CUDA and its like read when they first look for devices."""

from __future__ import annotations

import os
import typing as t


class Accelerators:
    """The accelerators of one instance: every n-th of the app's, where n is the number of instances.

    entries: those of the app, one for each of its workers; an entry may name several devices ("0,1")
    variable: the name of the variable
    instance: name of the instance, such as scoring-0; None by hand, where one master has them all
    """

    def __init__(self, entries: t.Sequence[t.Any], variable: str, instance: str | None):
        instances = os.environ.get("PYGUN_INSTANCES", "") if instance else ""
        number = (instance or "").rpartition("-")[2]
        step = int(instances) if instances.isdigit() else 1
        first = int(number) % step if number.isdigit() and step else 0
        self.own = [str(entry) for entry in entries[first :: max(1, step)]]
        self.variable = variable

    def of(self, place: int) -> str | None:
        """The accelerator of the worker with this number; None if the app has none.

        A master that was told by SIGTTIN to have more workers than that shares them.
        """
        return self.own[place % len(self.own)] if self.own else None

    def give(self, place: int, log: t.Any = None) -> str | None:
        """Let this process see only the accelerator of the worker with this number; return it. Called before the app is imported."""
        entry = self.of(place)
        if entry is not None:
            os.environ[self.variable] = entry
            if log and place >= len(self.own):
                log.warning(
                    "Worker %s shares %s=%s: this instance has %s of them", place, self.variable, entry, len(self.own)
                )
        return entry
