# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find names in pygun.py that look like settings and that gunicorn ignores silently."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator

from gunicorn.config import KNOWN_SETTINGS


def known() -> frozenset[str]:
    """The names of gunicorn's settings."""
    return frozenset(setting.name for setting in KNOWN_SETTINGS)


def ignored(names: dict) -> Iterator[str]:
    """The problem of each name that pygun.py defines and gunicorn ignores."""
    settings = known()
    for name, value in names.items():
        if name in settings:
            continue
        if name.lower() in settings:
            yield f"gunicorn ignores the setting {name}: settings are written in lower case ({name.lower()})"
        elif not name.startswith("_") and isinstance(value, (str, int, float, bool, list, tuple, dict, types.NoneType)):
            near = difflib.get_close_matches(name, settings, 1)
            hint = (
                f"is {near[0]} meant?"
                if near
                else "if it is a helper of pygun.py itself, let its name begin with an underscore"
            )
            yield f"gunicorn ignores the setting {name}: it has none of that name; {hint}"
