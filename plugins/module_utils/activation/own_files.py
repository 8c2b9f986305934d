# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Repair `current` and state.json if they are lost or damaged, or refuse the activation before an instance stops."""

from __future__ import annotations

import os
import typing as t

from ..release.store import ReleaseStore
from .errors import ActivationError, error_text
from .instances import Instances
from .journal import Journal
from .survey import Survey


class OwnFiles:
    """The link `current` and state.json, before a transaction."""

    def __init__(
        self, store: ReleaseStore, journal: Journal, instances: Instances, warn: t.Callable[[str], None]
    ) -> None:
        self.store = store
        self.journal = journal
        self.instances = instances
        self.warn = warn

    def lost(self) -> list[str]:
        """Describe each lost or damaged file that `mend` can write again."""
        store, lost = self.store, []
        if os.path.lexists(store.link) and not os.path.islink(store.link):
            raise ActivationError(
                f"{store.link} is not a link to a release. Move it away, then run this again. Nothing was changed.",
                step="prepare",
            )
        if not store.current() and self._last():
            lost.append(
                f"{store.link}, through which every start goes, was gone; it links to release {self._last()} again"
            )
        damage = store.damage_of_state()
        if damage:
            lost.append(
                f"{store.state_file} {damage}; this run writes it again. The history of releases and failures may be incomplete:"
                " a rollback may need the id of a release"
            )
        return lost

    def mend(self) -> bool:
        """Write the lost files again; return whether there were any."""
        lost, last = self.lost(), self._last()
        try:
            if last and not self.store.current():
                self.store.set_current(last)
            if self.store.damage_of_state():
                self.store.mend_state()
        except OSError as error:
            raise ActivationError(
                f"{'. '.join(lost)}. That failed: {error_text(error)}. No instance was touched.", step="prepare"
            ) from error
        for text in lost:
            self.warn(f"{text}.")
        return bool(lost)

    def refuse_unknown(self, survey: Survey) -> None:
        """Refuse to replace a serving release whose id is not known: there would be no way back."""
        others = [release for release in self.store.ids() if release != survey.wanted]
        running = any(process.state == "RUNNING" for process in self.instances.serving())
        if survey.baseline or self.journal.is_open or not (others and running):
            return
        raise ActivationError(
            f"{self.instances.options.name} runs, and there is neither a {self.store.link} nor an entry of it in"
            f" {self.store.state_file}: which release serves is not known, so there would be no way back. Link it with"
            f" `ln -s releases/{others[0]} {self.store.link}`, or to another of {', '.join(others)}. Nothing was changed.",
            step="prepare",
        )

    def _last(self) -> str | None:
        """The release that `current` linked to before this transaction."""
        return self.journal.entries["baseline"] if self.journal.is_open else self.store.remembered()
