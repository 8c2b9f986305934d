# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The text of root's own files and of the kernel's tables. The standard library alone: on a host the tools have a copy of this file."""

from __future__ import annotations

import os

_LARGEST_TABLE = 64 * 1024 * 1024


def read_text(path: str, most: int = 1024 * 1024) -> str:
    """The text of a file that may not be there; the last ``most`` bytes of a long one."""
    try:
        with open(path, "rb") as stream:
            try:
                if os.fstat(stream.fileno()).st_size > most:
                    stream.seek(-most, os.SEEK_END)
            except OSError:
                pass  # not every file of /proc can seek
            # What the kernel tells has no size: its tables are long on a busy host.
            return stream.read(most if os.fstat(stream.fileno()).st_size else _LARGEST_TABLE).decode("utf-8", "replace")
    except OSError:
        return ""
