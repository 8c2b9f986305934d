# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a release needs around gunicorn: `pygun.py` makes one :class:`Runtime` and stays a file of settings.

Ordinary Python 3.10+, standard library plus gunicorn (and gevent for the lossless worker).
The package travels inside every release, beside the source and the virtual environment.
"""

from __future__ import annotations

from .env_file import EnvFileError
from .runtime import Runtime

__all__ = ["EnvFileError", "Runtime"]
