# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Combine the server's packages with the app's: the app decides the versions, and the server's extras hold in any case.

Nothing here imports Ansible, so that the functions can be tested and used alone.
"""

from __future__ import annotations

import dataclasses
import os
import re

from ..host.logins import masked
from ..resolved import normalize
from ..virtual_env import requirement_name
from .requirement_lines import lines

#: The versions of gunicorn that the lossless worker knows (TESTED_GUNICORN of the runtime).
LOSSLESS = ("27.0.1",)
#: The first gunicorn that finds the app by its settings file.
OLDEST = (20, 1)
#: gunicorn 20 imports pkg_resources, and does not say so; later releases of setuptools have none, or warn of it.
FOR_GUNICORN_20 = "setuptools<80.9"
LOSES = "a restart may lose requests"
_SPLIT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?\s*(.*)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Named:
    """One place where the app names a package of the server."""

    where: str
    text: str

    @property
    def decides(self) -> bool:
        """Whether it allows one version only. A marker may exclude this host's Python."""
        return ";" not in self.text and bool(_SPLIT.match(self.text)[3])

    @property
    def too_old(self) -> bool:
        """Whether it excludes every gunicorn that could serve."""
        return requirement_name(self.text) == "gunicorn" and ";" not in self.text and _too_old(self.text)

    def __str__(self) -> str:
        return f"{masked(self.text)} ({self.where})"


def _too_old(requirement: str) -> bool:
    for operator, version in re.findall(r"(===?|~=|<=|<)\s*(\d[^\s,;]*)", requirement):
        parts = tuple(int(part) for part in re.findall(r"\d+", version))
        if operator == "~=":
            parts = parts[:-1]
        limit = OLDEST[: len(parts)] if operator == "~=" or "*" in version else OLDEST
        if parts < limit or (operator == "<" and parts <= OLDEST):
            return True
    return False


def named(server, files, packages, beneath=""):
    """Where the app names packages of the server: their names, each with a list of `Named`.

    :param server: the server's packages
    :param files: paths of the app's requirement files
    :param packages: the app's further packages
    :param beneath: folder that the paths are shown relative to
    """
    given = [place for path in files for place in lines(path)] + [("flask_app_packages", text) for text in packages]
    wanted = {"gunicorn", *map(requirement_name, server)}
    found = {}
    for where, text in given:
        name = None if text.startswith("-") else requirement_name(text)
        if name in wanted:
            where = where.removeprefix(beneath + os.sep) if beneath else where
            found.setdefault(name, []).append(Named(where, re.split(r"\s--", text)[0].strip()))
    return found


def wants_hashes(files, uv) -> bool:
    """Whether everything that is installed with these requirement files needs a hash: for pip, as soon as one is given."""
    marks = ("--require-hashes",) if uv else ("--require-hashes", "--hash")
    return any(mark in text for path in files for _where, text in lines(path) for mark in marks)


def without_version(requirement: str) -> str:
    """A package of the server with its extras, whose version the app decides."""
    name, extras, _rest = _SPLIT.match(requirement.strip()).groups()
    floor = f">={'.'.join(map(str, OLDEST))}" if normalize(name) == "gunicorn" else ""
    return f"{name}[{extras}]{floor}" if extras else f"{name}{floor}"


def ways(server, found):
    """The server's packages as they can be asked for, the best way first.

    With their versions where the app leaves the choice. A package that the app requires may want another version, which
    only the installer finds out: the ways after the first leave one version more to it, and at last all.
    """
    decided = {name for name, places in found.items() if any(place.decides for place in places)}
    names = [name for name in map(requirement_name, server) if name is not None]
    result = []
    for free in [decided, *(decided | {name} for name in names), decided | set(names)]:
        way = [without_version(text) if requirement_name(text) in free else text for text in server]
        if way not in result:
            result.append(way)
    return result


def left_open(server, files, packages) -> set[str]:
    """Names of packages that the app names, and of whose versions it leaves a choice; without the server's."""
    given = [text for path in files for _where, text in lines(path)] + list(packages)
    names = {requirement_name(text) for text in given if not text.startswith("-") and _leaves_choice(text)}
    return names - {"gunicorn", None, *map(requirement_name, server)}


def _leaves_choice(text) -> bool:
    return "://" not in text and not re.search(r"===?\s*[^\s,;*]+\s*(;|$|\s--)", text)


def attempts(server, found, names, alone):
    """The server's packages as they can be asked for, each with the versions of the app's packages that are to hold; the best first.

    :param names: the result of `left_open`
    :param alone: returns the versions that the app gets without the server's packages, as a dictionary
    """
    held = [f"{name}=={alone()[name]}" for name in sorted(names) if name in alone()]
    asked = ways(server, found)
    for kept in [held, []] if held else [[]]:
        yield asked[0], kept
        for way in asked[1:]:
            # Another gunicorn than the lossless worker knows is for apps that ask for one.
            if "gunicorn" in alone() or _gunicorn_in(way) == _gunicorn_in(asked[0]):
                yield way, kept


def _gunicorn_in(way):
    return [text for text in way if requirement_name(text) == "gunicorn"]


def constraints(found) -> list[str]:
    """The app's requirements of the server's packages, as constraints, which have no extras."""
    places = [_SPLIT.match(place.text).groups() for places in found.values() for place in places]
    return [name + rest for name, _extras, rest in places if rest]


def with_extras(overrides, server) -> list[str]:
    """The overrides, with the extras of the server: an override that names none would take them away."""
    extras = {requirement_name(text): _SPLIT.match(text.strip())[2] for text in server if requirement_name(text)}
    result = []
    for text in overrides:
        name, own, rest = _SPLIT.match(text.strip()).groups() if requirement_name(text) else ("", "", "")
        asked = [part for part in (own, extras.get(normalize(name))) if part]
        result.append(f"{name}[{','.join(asked)}]{' ' if rest[:1] == '@' else ''}{rest}" if asked else text)
    return result


def is_too_old(version) -> bool:
    """Whether an installed gunicorn of this version could not serve."""
    return _too_old(f"gunicorn=={version}")


def refusal(version, named) -> tuple[str, str]:
    """The reason why the chosen gunicorn cannot serve, and what to do.

    :param named: where the app names it, or an empty text when a package brings it
    """
    of_whom = (
        f"The app names {named}: that is gunicorn {version}"
        if named
        else f"A package of the app's brings gunicorn {version}"
    )
    return (
        f"{of_whom}, and no gunicorn before 20.1.0 can serve here: it does not read the app's name from pygun.py.",
        f"20.1.0 to {LOSSLESS[-1]} work. Raise the version; or, with uv, set flask_app_overrides: [gunicorn=={LOSSLESS[-1]}].",
    )


def changed(names, alone, got, server):
    """A warning for each package that the app names, and whose version the server's packages change.

    :param alone: versions without the server's packages
    :param got: versions with them
    """
    for name in sorted(names):
        if name in alone and name in got and _plain(alone[name]) != _plain(got[name]):
            yield (
                f"{name} is {got[name]}, and {alone[name]} without the server's packages ({', '.join(server)}): the two do not fit"
                f" each other. To have {alone[name]}, write {name}=={alone[name]} into the app's requirements, and the deploy says"
                " what prevents it; with uv, flask_app_overrides decides versions."
            )


def _plain(version):
    """A version as an installer and the name of a directory both may write it."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[-_]", ".", version.lower()))


def refused(found, overrides=()):
    """Each place that names a gunicorn which cannot serve, with why, to be read on from there."""
    if any(requirement_name(text) == "gunicorn" for text in overrides):
        found = {"gunicorn": [Named("flask_app_overrides", text) for text in overrides]}
    for place in found.get("gunicorn", ()):
        if place.too_old:
            yield (
                place.where,
                f" names {place.text}, and no gunicorn before 20.1.0 can serve here: it does not read the app's name from"
                f" pygun.py. 20.1.0 to {LOSSLESS[-1]} work. Raise the version, or take the line out, and gunicorn"
                f" {LOSSLESS[-1]} is installed.",
            )


def remedy(found) -> str:
    """The remedy if the app's requirements do not fit the server's."""
    others = [place for name, places in found.items() if name != "gunicorn" for place in places if place.decides]
    if "gunicorn" not in found and others:
        return (
            f"Take the version out of {others[0]}; or name a gunicorn that takes it as well, such as gunicorn==23.0.0, whose own"
            " gevent worker then serves. With uv, flask_app_overrides can decide, too."
        )
    return (
        f"Take the versions out, or name some that fit each other: gunicorn=={LOSSLESS[-1]} is what the lossless worker knows."
        " With uv, flask_app_overrides can decide, too."
    )


def leaves_another_way(text) -> bool:
    """Whether an installer that says this may succeed with other versions of the server's packages."""
    return bool(re.search(r"No solution found|ResolutionImpossible", text) and re.search(r"gunicorn|gevent", text))


def stock_worker(record) -> str:
    """A warning if the instance that wrote this record serves with gunicorn's own gevent worker; or an empty text.

    The app can write records: of the version, nothing is repeated that is none.
    """
    if record.get("worker_class") != "gevent" or record.get("lossless") is not False:
        return ""
    version = record.get("gunicorn")
    if version in LOSSLESS:
        return f"gunicorn's own gevent worker serves, as its settings ask for: {LOSES}."
    if not isinstance(version, str) or not re.fullmatch(r"\d[\w.+!-]{0,30}", version):
        version = "of an unknown version"
    return (
        f"gunicorn {version} is not known to the lossless worker (it knows {', '.join(LOSSLESS)}): gunicorn's own gevent worker"
        f" serves; {LOSES}. Have the app's requirements name gunicorn=={LOSSLESS[-1]}, or none, and deploy; if a package that they"
        f" bring asks for another one, set flask_app_overrides: [gunicorn=={LOSSLESS[-1]}]."
    )
