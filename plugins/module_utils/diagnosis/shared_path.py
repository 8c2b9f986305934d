# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What to name in ``flask_app_shared_paths`` when an app may not write into its source."""

from __future__ import annotations

import os
import re

_IN_SOURCE = re.compile(r"/releases/[0-9a-f]{16}/src/([^'\"\n]+)")
#: An app runs in the folder of its source.
_RELATIVE = re.compile(r"(?:denied|file system): '([^/'\"\n][^'\"\n]*)'")


def of(error: str) -> str:
    """The folder of the source that an error names, or the file if it lies in none; an example if it names neither."""
    found = _IN_SOURCE.search(error) or _RELATIVE.search(error)
    path = os.path.normpath(found[1]) if found else "."
    if os.path.splitext(path)[1]:
        path = os.path.dirname(path) or path
    return "instance" if path.split(os.sep)[0] in (".", "..") else path
