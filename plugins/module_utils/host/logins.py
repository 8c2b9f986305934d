# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Logins and tokens in addresses: they stay where a user has written them, and no lock, record, log or diff has them.

Nothing here imports Ansible, so that the functions can be tested and used alone.
"""

from __future__ import annotations

import re
import typing as t

#: What everybody else sees of a login or a token.
HIDDEN = "***"
#: A user, with or without a password, also one that was not encoded. A user of ssh alone is no secret.
_LOGIN = re.compile(r"((?<!ssh)://|(?<=ssh)://(?=[^/@?#\s]*:|\*{3}@))([^/\s]+)@([^/@?#\s]+)")
#: A field of a query that is secret by its name. All others may say which file is meant.
_FIELD = re.compile(
    r"([?&][^?=&#\s]*(?:token|secret|pass|pwd|auth|credential|key|sig|jwt)[^?=&#\s]*=)([^&#\s\"']+)", re.IGNORECASE
)
_ADDRESS = re.compile(r"(?:([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*@\s*)?([a-z][a-z0-9+.-]*://[^\s\"']+)")


def masked(text: str) -> str:
    """The text with `HIDDEN` for each login, and for each field of a query that is secret by its name."""
    return _FIELD.sub(rf"\1{HIDDEN}", _LOGIN.sub(rf"\1{HIDDEN}@\3", text))


class Logins:
    """The logins and tokens of the addresses in some texts, which can be put into masked addresses again."""

    def __init__(self, texts: t.Iterable[str]) -> None:
        found = [match for text in texts for match in _ADDRESS.findall(text)]
        self._addresses = [(name.lower(), address) for name, address in found if masked(address) != address]
        self._by_host = {match[3]: match[2] for _name, address in self._addresses for match in _LOGIN.finditer(address)}

    def restored(self, name: str, address: str) -> str:
        """A masked address as it was: by that of the package, or that of the place, or at least by its host."""
        if HIDDEN not in address:
            return address
        same = [one for one in self._addresses if _place(one[1]) == _place(address)]
        same.sort(key=lambda one: re.sub(r"[-_.]+", "-", one[0]) != name)
        original = same[0][1] if same else ""
        login = _LOGIN.search(original)
        fields = dict(_FIELD.findall(original))
        address = _FIELD.sub(lambda match: match[1] + fields.get(match[1], match[2]), address)
        return _LOGIN.sub(
            lambda match: f"{match[1]}{login[2] if login else self._by_host.get(match[3], match[2])}@{match[3]}",
            address,
        )


def _place(address: str) -> str:
    """Host and path of an address: without its login, the revision of a repository, and what comes behind."""
    plain = re.split(r"[?#]", _LOGIN.sub(r"\1\3", address))[0]
    plain = re.sub(r"@[^/@]*$", "", plain) if re.match(r"(git|hg|svn|bzr)\+", plain) else plain
    return plain.rstrip("/").removesuffix(".git")
