# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The contents of a lock file of any tool, and their conversion to lines of a requirement file."""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...module_utils.host.logins import masked
from ...module_utils.release.requirement_lines import note
from ...module_utils.resolved import normalize
from ..requirement_files import Reader, Refused
from . import markers
from .markers import ALWAYS, NONE, Chosen, Marker

PYPI = re.compile(r"https://(?:www\.)?pypi\.(?:org|python\.org)/simple/?")
_PARTS = re.compile(r"([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)


@dataclass(frozen=True)
class Package:
    """One version of a distribution in a lock.

    :param requirement: the requirement for the installer, without marker and hashes
    """

    name: str
    version: str
    requirement: str
    hashes: tuple[str, ...] = ()
    index: str = ""
    #: The names of its files, if the lock has them.
    files: tuple[str, ...] = ()


@dataclass
class Lock:
    """The packages of a lock file for the wanted extras and groups.

    :param path: the file
    :param command: the command that writes it again
    :param has: the extras and groups that it knows
    """

    path: Path
    command: str
    needed: dict[Package, Marker] = field(default_factory=dict)
    has: list[str] = field(default_factory=list)
    #: Every version of each distribution, whether it is needed or not.
    versions: dict[str, list[str]] = field(default_factory=dict)
    requires_python: str = ""
    #: Names of the packages whose versions the project decides, or which it leaves out, whatever it and others ask for.
    overridden: list[str] = field(default_factory=list)

    def add(self, package: Package, marker: Marker) -> None:
        """Take a package that is needed where the marker holds."""
        self.needed[package] = markers.any_of([self.needed.get(package, markers.NEVER), marker])

    def where(self, name: str) -> str:
        """The place that a message names."""
        return f"{self.path}, package {name}"

    def place(self, path: str) -> str:
        """A path that the lock has, for a reader of requirements."""
        found = os.path.normpath(os.path.join(os.path.abspath(self.path.parent), path))
        return f"file://{urllib.parse.quote(found)}" if re.search("[#;]", found) else found

    def marker(self, text: str, name: str, chosen: Chosen = NONE) -> Marker:
        """A marker that the lock has at a package.

        :raises Refused: when it is none
        """
        try:
            return markers.parse(text, chosen)
        except markers.MarkerError as error:
            raise Refused(
                f"{self.where(name)} has the marker {text!r}, which is none. Run `{self.command}`."
            ) from error

    def give(self, reader: Reader, origin: str, extras: Iterable[str]) -> str:
        """Pass the packages to a reader of requirements, and return a short note on the lock.

        Packages without a hash go to the projects of the source: pip wants hashes for all lines of a file, or for none.

        :param origin: the file as a release names it
        :param extras: the extras and groups that are among the packages
        """
        found = [(package, marker) for package, marker in self.needed.items() if package.requirement and marker]
        if self.requires_python:
            reader.found.lines.append(note("requires-python", self.requires_python, origin))
            reader.found.pythons.append((str(self.path), self.requires_python))
        reader.found.lines += [note("override", text, origin) for text in self._overrides()]
        for line in self._indexes([package for package, _marker in found]):
            reader.line(line, self.path.parent, str(self.path), origin)
        unhashed = []
        for package, marker in found:
            before = len(reader.found.lines)
            text = _where(package.requirement, marker)
            text += "".join(f" --hash={value}" for value in package.hashes)
            reader.line(text, self.path.parent, self.where(package.name), f"{origin}, package {package.name}")
            if not package.hashes:
                unhashed += reader.found.lines[before:]
                del reader.found.lines[before:]
        hashed = sum(bool(package.hashes) for package, _marker in found)
        (reader.found.folders if hashed else reader.found.lines).extend(unhashed)
        reader.found.locked = True
        with_extras = f", with {', '.join(extras)}" if extras else ""
        return f"{origin} (frozen: {len(found)} packages, {hashed} with hashes{with_extras})"

    def _overrides(self) -> Iterator[str]:
        """The overridden packages as the lock has them; those that it lacks are for no host."""
        for name in dict.fromkeys(map(normalize, self.overridden)):
            found = [
                item for item in self.needed.items() if normalize(item[0].name) == name and item[0].version and item[1]
            ]
            for package, marker in found:
                yield _where(f"{name}=={package.version}", marker)
            if not found:
                yield f"{name} ; python_version < '0'"

    def _indexes(self, packages: Iterable[Package]) -> Iterator[str]:
        """Options for the indexes that are not PyPI, which `python_index_url` stands in for."""
        urls = dict.fromkeys(package.index for package in packages if package.index)
        foreign = [url for url in urls if not PYPI.fullmatch(url)]
        for url in foreign:
            if "://" in url and re.search(r"\$\{?[A-Za-z_]", url):
                raise Refused(
                    f"{self.path} names the index {masked(url)}, whose address has a variable of the environment: no host has it. Write a"
                    " requirements.txt from the lock, take its lines with indexes out, and set python_index_url."
                )
            if "://" not in url:
                yield f"--find-links {url}"
            elif len(urls) == 1:
                yield f"--index-url {url}"
            else:
                yield f"--extra-index-url {url}"


def _where(requirement: str, marker: Marker) -> str:
    """A requirement for the hosts of a marker."""
    return requirement if marker == ALWAYS else f"{requirement} ; {markers.text_of(marker)}"


@dataclass(frozen=True)
class Edge:
    """That a package needs another one, with some of its extras, where a marker holds."""

    name: str
    extras: tuple[str, ...] = ()
    marker: Marker = ALWAYS
    #: Which version is meant, where a lock has several: any text by which `walk` is told apart.
    which: tuple = ()


def walk(
    lock: Lock,
    start: Iterable[Edge],
    find: Callable[[Edge], Iterable[Package]],
    edges: Callable[[Package, str], Iterable[Edge]],
) -> None:
    """Add to the lock's needed packages all that the edges lead to.

    :param find: the packages that an edge means
    :param edges: what a package needs, by itself (an empty text) or for an extra
    """
    reached: dict[tuple[Package, str], Marker] = {}
    waiting = [(edge, ALWAYS) for edge in start]
    while waiting:
        edge, before = waiting.pop()
        marker = markers.both(before, edge.marker)
        for package in find(edge) if marker else ():
            for extra in ("", *edge.extras):
                known = reached.get((package, extra), markers.NEVER)
                together = markers.any_of([known, marker])
                if together != known:
                    reached[package, extra] = together
                    waiting += [(further, marker) for further in edges(package, extra)]
    for (package, _extra), marker in sorted(
        reached.items(), key=lambda item: (item[0][0].name, item[0][0].version, item[0][1])
    ):
        lock.add(package, marker)


def choose(names: Iterable[str], extras: Iterable[str], groups: Iterable[str]) -> Chosen:
    """What of the given names is an extra, and what a dependency group."""
    wanted = set(map(normalize, names))
    return Chosen(
        [name for name in extras if normalize(name) in wanted], [name for name in groups if normalize(name) in wanted]
    )


def names_of(files: Iterable[dict]) -> tuple[str, ...]:
    """The names of the files that a lock lists for a package."""
    found = [file.get("name") or file.get("file") or file.get("url") or file.get("path") or "" for file in files]
    return tuple(str(name).partition("?")[0].partition("#")[0].rpartition("/")[2] for name in found if name)


def repository(kind: str, address: str, commit: str, subdirectory: str = "") -> str:
    """The address of a commit in a repository, as an installer is given it."""
    url = address if address.startswith(f"{kind}+") else f"{kind}+{address}"
    scp = re.fullmatch(r"(\w+\+)(?:ssh://)?([\w.-]+@[\w.-]+):(?!\d+/|//)(.+)", url)
    url = f"{scp[1]}ssh://{scp[2]}/{scp[3]}" if scp else url
    return f"{url}@{commit}" + (f"#subdirectory={urllib.parse.quote(subdirectory)}" if subdirectory else "")


def parts_of(url: str) -> tuple[str, dict[str, str], str]:
    """An address without query and fragment, its query, and its fragment."""
    address, query, fragment = _PARTS.fullmatch(url).groups(default="")
    return address, dict(part.partition("=")[::2] for part in query.split("&") if part), fragment
