# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files that changed and that their service has not read since: the run that was to restart or reload it may have ended before."""

from __future__ import annotations

import os

from .atomic import write_atomically
from .text import read_text

PENDING_SPEC = {
    "type": "dict",
    "options": {
        "path": {"type": "path", "required": True},
        "files": {"type": "list", "elements": "path", "required": True},
    },
}


class Pending:
    """The note of such files. In the runtime directory of a service it goes with each stop of that; elsewhere the role removes it.

    :param given: ``path`` of the note, and the ``files`` that the service reads as it starts; None: there is none
    """

    def __init__(self, given: dict | None) -> None:
        self.path = given["path"] if given else ""
        self.files = given["files"] if given else []

    def noted(self) -> list[str]:
        """The files that the service has not read yet."""
        lines = read_text(self.path).splitlines() if self.path else []
        return [path for path in self.files if path in lines]

    def note(self, changing: list[str]) -> None:
        """Note some of these files before they change. A service without its directory does not run, and reads them when it starts."""
        if changing and os.path.isdir(os.path.dirname(self.path)):
            paths = dict.fromkeys([*self.noted(), *changing])
            write_atomically(self.path, "".join(f"{path}\n" for path in paths).encode(), 0o600)
