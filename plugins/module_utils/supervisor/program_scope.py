# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whose a file of supervisor is: the first line of those that the module `programs` writes names their scope."""

from __future__ import annotations

import contextlib
import glob
import re

_MARK = "; Written by pygun.stack.programs for"
#: A removed file keeps its content under this ending until supervisord has let go of its group.
GONE = ".removed"


def head(scope: str) -> str:
    """The first line of a file of this scope."""
    return f"{_MARK} {scope}: changes here are overwritten.\n"


def scope_of(text: str) -> str | None:
    """The scope of a file; None if this module has not written it."""
    found = re.match(rf"{re.escape(_MARK)} (\S+): ", text)
    return found.group(1) if found else None


def files_of(scope: str, folder: str) -> list[str]:
    """The files of a scope, those included whose removal was interrupted."""
    found = []
    for ending in ("", GONE):
        for path in sorted(glob.glob(f"{glob.escape(folder)}/*.conf{ending}")):
            # supervisor passes over a link to nothing, too
            with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as stream:
                if scope_of(stream.readline()) == scope:
                    found.append(path)
    return found
