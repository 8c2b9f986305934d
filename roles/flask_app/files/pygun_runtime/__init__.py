# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The Python around gunicorn in a release: `pygun.py` makes one :class:`Runtime` and stays a file of settings.

Ordinary Python 3.10+, standard library plus gunicorn (and gevent for the lossless worker).
The package is part of every release, next to the source.
"""

from __future__ import annotations

import typing as t

from .env_file import EnvFileError

if t.TYPE_CHECKING:
    from .runtime import Runtime

__all__ = ["EnvFileError", "Runtime"]


def __getattr__(name: str):
    """Import the Runtime, and gunicorn with it, for pygun.py only: a program of the release needs none of it."""
    if name != "Runtime":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .runtime import Runtime

    return Runtime
