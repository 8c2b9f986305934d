# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The files of a scope in conf.d."""

from __future__ import annotations

import dataclasses
import os
import stat


@dataclasses.dataclass
class ProgramFile:
    """A file of the scope: its content, and the wanted content (None: remove it)."""

    path: str
    before: bytes | None
    after: bytes | None
    mode: int = 0o644
    old_mode: int = 0o644

    def differs(self) -> bool:
        return self.before != self.after or (self.after is not None and self.old_mode != self.mode)


def mode_of(path: str) -> int:
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return 0o644


def file_owner() -> tuple[int, int]:
    return (0, 0) if os.geteuid() == 0 else (-1, -1)
