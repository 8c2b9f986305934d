# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Say which headers gunicorn drops: it does so in silence, and an app looks for them in vain."""

from __future__ import annotations

import logging

from gunicorn.http import message

#: Names come from callers: so many are said.
MOST_SAID = 100


def watch(log) -> None:
    """Have each name said once, at the level debug; at any other level nothing is changed."""
    policy = getattr(message, "HeaderPolicy", None)  # since gunicorn 26
    apply = getattr(policy, "_apply_header_policy", None)
    if apply is None or not log.error_log.isEnabledFor(logging.DEBUG):
        return
    said: set[str] = set()

    def apply_and_say(self, name, *arguments, **options):
        kept = apply(self, name, *arguments, **options)
        if kept is None and name not in said and len(said) < MOST_SAID:
            said.add(name)
            log.debug(
                "gunicorn drops the header %s: a name with an underscore could pass for another header. Let the caller write %s,"
                " or see gunicorn's settings header_map and forwarder_headers",
                name,
                name.replace("_", "-"),
            )
        return kept

    policy._apply_header_policy = apply_and_say
