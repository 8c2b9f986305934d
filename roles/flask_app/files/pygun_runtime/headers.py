# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Headers that gunicorn believes by default and no app should, and those that it drops in silence."""

from __future__ import annotations

import logging

from gunicorn.http import message, wsgi

from .settings import known

#: Names come from callers: so many are said.
MOST_SAID = 100


def believe_nobody(settings: dict) -> None:
    """Ignore headers by which a caller says where the app is served, unless *settings* names one: proxies pass on unknown headers.

    By default gunicorn takes SCRIPT_NAME from every address in forwarded_allow_ips, before version 22 from everybody.
    """
    if "forwarder_headers" in known():
        settings.setdefault("forwarder_headers", "")
    elif not hasattr(wsgi, "pygun_believes_nobody"):  # a HUP comes here again
        wsgi.pygun_believes_nobody = True
        create = wsgi.create

        def create_without(request, *arguments):
            request.headers = [header for header in request.headers if header[0] != "SCRIPT_NAME"]
            return create(request, *arguments)

        wsgi.create = create_without


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
