# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Logins of git repositories that requirements name: git gets them from a helper, and not in an address.

Installers give git an address as it stands in a requirement, as an argument, and git gives it to its own helpers: every user of the host could
read it in the list of processes.
"""

from __future__ import annotations

import os
import re
import typing as t
import urllib.parse

from .requirement_lines import CONSTRAINTS

_ADDRESS = re.compile(r"git\+(https?://)([^/\s\"']+)@([^/@?#\s\"']+)([^@?#\s\"';]*)")
#: How git asks a helper for a login, see gitcredentials(7); with the beginning of the names of the variables that have it.
HELPER = '!f() {{ printf "username=%s\\npassword=%s\\n" "${0}_USER" "${0}_PASSWORD"; }}; f'


def without(text: str) -> str:
    """The text without the logins of git repositories."""
    return _ADDRESS.sub(r"git+\1\3\4", text)


def copies(files: t.Sequence[str], folder: str) -> list[str]:
    """Requirement files without these logins: the same if they have none, or else copies in a new folder, with the constraints that they name."""
    found = [*files, *{os.path.join(os.path.dirname(file), CONSTRAINTS) for file in files}]
    contents = {}
    for file in filter(os.path.isfile, found):
        with open(file, encoding="utf-8") as stream:
            contents[file] = stream.read()
    if all(without(text) == text for text in contents.values()):
        return list(files)
    os.mkdir(folder, 0o755)
    for file, text in contents.items():
        with open(os.path.join(folder, os.path.basename(file)), "w", encoding="utf-8") as stream:
            stream.write(without(text))
    return [os.path.join(folder, os.path.basename(file)) for file in files]


def environment(texts: t.Iterable[str], known: int = 0) -> dict[str, str]:
    """Variables by which git knows the logins in these texts: that of a repository, or else one of its host, as for a submodule.

    :param known: how many settings of git are in variables already
    """
    found = list(dict.fromkeys(match for text in texts for match in _ADDRESS.findall(text)))
    if not found:
        return {}
    variables: dict[str, str] = {}
    settings: list[tuple[str, str]] = []
    hosts: list[tuple[str, str]] = []
    for number, (scheme, login, host, path) in enumerate(found):
        name = f"PYGUN_GIT_{number}"
        user, _colon, password = login.partition(":")
        variables[f"{name}_USER"], variables[f"{name}_PASSWORD"] = map(urllib.parse.unquote, (user, password))
        key = f"credential.{scheme}{host}{path}.helper"
        # The empty one takes the place of those that there are for all addresses.
        settings += [(key, ""), (key, HELPER.format(name))]
        hosts.append((f"credential.{scheme}{host}.helper", HELPER.format(name)))
    settings += hosts
    return {**variables, **as_variables(settings, known)}


def as_variables(settings: t.Sequence[tuple[str, str]], known: int) -> dict[str, str]:
    """Settings of git as variables of the environment, after those that are there."""
    variables = {"GIT_CONFIG_COUNT": str(known + len(settings))}
    for number, (key, value) in enumerate(settings, known):
        variables[f"GIT_CONFIG_KEY_{number}"], variables[f"GIT_CONFIG_VALUE_{number}"] = key, value
    return variables
