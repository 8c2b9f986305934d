# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Mask the secrets of an app in what it says: an error goes to the control node, and into files that everybody may read."""

from __future__ import annotations

import re
import urllib.parse

from ..host import logins

_SECRET_NAME = re.compile(r"secret|pass|pwd|token|key|credential|auth|private|salt|dsn|url|uri", re.IGNORECASE)
#: The value is the place of a secret, and the secret is in there.
_PLACE_NAME = re.compile(r"(file|path|dir)$", re.IGNORECASE)
#: A password in an address.
_PASSWORD = re.compile(r"://[^/@:\s]*:([^@\s]+)@")
_ASSIGNMENT = re.compile(r"^(\w+)=\"(.*)\"$", re.MULTILINE)
_SHORTEST_SECRET = 6


def masked(text: str, environment: str) -> str:
    """The text without logins in addresses, and without the secrets of an environment file."""
    for secret in secrets_in(environment):
        text = text.replace(secret, "***")
    return logins.masked(text)


def secrets_in(environment: str) -> list[str]:
    """The values of an environment file that are secret by their names, and the passwords in addresses; the longest first."""
    found = set()
    for name, raw in _ASSIGNMENT.findall(environment):
        value = raw.replace('\\"', '"').replace("\\\\", "\\")
        passwords = _PASSWORD.findall(value)
        found.update([*passwords, *map(urllib.parse.unquote, passwords)])
        if _SECRET_NAME.search(name) and not _PLACE_NAME.search(name):
            found.update([value, *value.split("\\n")])  # the lines of a key are printed as lines
    return sorted((secret for secret in found if len(secret) >= _SHORTEST_SECRET), key=len, reverse=True)
