# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One entry of the table of symptoms."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Symptom:
    """A text that upstream prints, with its cause and remedy. ``{0}``, ``{1}`` are the groups of the pattern.

    ``source`` is who prints it: the ``app`` (with gunicorn), the ``installer``, ``supervisord``, or ``anybody``.
    ``needs_request`` says that the app boots: only a request to its health endpoint shows the failure.
    ``of_last_error`` says that the text counts in the last traceback, if there is one: an app may log such an error, and go on.
    """

    code: str
    source: str
    pattern: str
    cause: str
    remedy: str
    needs_request: bool = False
    of_last_error: bool = False
