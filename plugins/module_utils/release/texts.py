# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The files of a release as a diff shows them: text, up to a limit, and nothing that may be secret.

Used on the host for the release that is current, and on the control node for the next one.
"""

from __future__ import annotations

import re

from ..host.logins import masked

#: Bytes of one file, and of all together. Longer files are listed without their text.
FILE_LIMIT = 16 << 10
TOTAL_LIMIT = 64 << 10
_SECRET_NAMES = re.compile(
    r"\.env.*|.*\.(env|pem|key|p12|pfx|jks|token)|id_(rsa|dsa|ecdsa|ed25519)|token|\.(netrc|pypirc|htpasswd)"
    r"|.*(secret|credential|passw).*",
    re.I,
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY")
#: Holds a user's own settings, which may come from a vault, so its content is never shown.
SETTINGS = "pygun.py"


def readable(path: str) -> bool:
    """Whether the text of a file may be shown. Not shown are files of the collection, those with a secret's name, and those whose name
    no module can send: one that is not UTF-8.
    """
    if path != SETTINGS and not path.startswith(("src/", "requirements/")):
        return False
    return not re.search("[\ud800-\udfff]", path) and not any(_SECRET_NAMES.fullmatch(part) for part in path.split("/"))


def text_of(path: str, content: bytes, settings: str = "") -> str | None:
    """The text of a file that may be shown; None if it is too long, not a text, or a private key.

    :param path: its path in the release
    :param content: the file, or its first bytes beyond `FILE_LIMIT`
    :param settings: pygun.py, rendered without a user's own settings; empty if that is not known
    """
    if path == SETTINGS:
        if not settings:
            return None
        content = settings.encode()
    if len(content) > FILE_LIMIT or b"\0" in content:
        return None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    if _PRIVATE_KEY.search(text):
        return None
    return masked(text)
