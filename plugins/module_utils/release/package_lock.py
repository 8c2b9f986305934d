# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lock of a release: every package of its environment with version and hashes, as the first host has resolved it.

Nothing here imports Ansible, so that the functions can be tested and used alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import typing as t

from ..host import foreign
from ..host.logins import Logins, masked
from ..resolved import Resolved, requirement_of
from ..virtual_env import platform, requirement_name
from .requirement_lines import SOURCE, lines, other_file

#: Name of the file in a release.
FILE = "lock.txt"
#: In place of names: all packages are upgraded.
ALL = "true"
#: Bytes of such a file.
LARGEST = 8 << 20
_LINE = re.compile(
    r"(?P<name>[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)(?:==(?P<version>[A-Za-z0-9][A-Za-z0-9._+!-]*)| @ (?P<address>[^\s;]+))"
    r"(?P<hashes>(?: --hash=sha256:[0-9a-f]{64})*)"
)


class Unreadable(ValueError):
    """The text is not a lock."""


@dataclasses.dataclass(frozen=True)
class PackageLock:
    """The packages of an environment, ordered by name.

    :param warnings: sentences on how they were resolved, which hold for every release with this lock
    """

    packages: tuple[Resolved, ...]
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, packages: t.Iterable[Resolved], warnings: t.Iterable[str] = (), source: str = "") -> PackageLock:
        """Make a lock from the packages that an installer has chosen.

        :param source: folder of the source, which the lock has as `SOURCE`; addresses have no logins
        """
        found = [package._replace(address=_plain(package.address, source)) for package in packages]
        return cls(tuple(sorted(found)), tuple(warnings))

    @classmethod
    def parse(cls, text: str) -> PackageLock:
        """The lock in a text, which may come from another host: a line holds a package and nothing else.

        :raises Unreadable: for any other line
        """
        packages, warnings = [], []
        for line in text.splitlines():
            match = _LINE.fullmatch(line)
            if match:
                hashes = tuple(part.removeprefix("--hash=") for part in match["hashes"].split())
                packages.append(Resolved(match["name"], match["version"] or "", match["address"] or "", hashes))
            elif line.startswith("# "):
                warnings.append(line[2:])
            else:
                raise Unreadable(f"{line[:80]!r} is not a line of a lock")
        return cls(tuple(packages), tuple(warnings))

    @classmethod
    def read(cls, path: str) -> PackageLock | None:
        """The lock in a file; None if there is none that can be read."""
        try:
            return cls.parse(foreign.read(path, LARGEST).decode())
        except (OSError, foreign.Unreadable, ValueError):
            return None

    @property
    def text(self) -> str:
        return "".join(f"# {' '.join(text.split())}\n" for text in self.warnings) + self._lines

    @property
    def _lines(self) -> str:
        return "".join(f"{line}\n" for line in map(_line, self.packages))

    @property
    def digest(self) -> str:
        """Changes when, and only when, something changes that is installed."""
        return hashlib.sha256(self._lines.encode()).hexdigest()

    @property
    def pins(self) -> str:
        """A line for each package, without hashes, for a diff."""
        return "".join(f"{requirement_of(package)}\n" for package in self.packages)

    @property
    def versions(self) -> dict[str, str]:
        """Names and versions; without the packages that come from an address."""
        return {package.name: package.version for package in self.packages if package.version}

    def folders(self) -> list[str]:
        """Paths in the source that packages come from, relative to it."""
        return [path for package in self.packages for path in [_in_source(package.address)] if path is not None]

    def same_as(self, other: PackageLock) -> bool:
        """Whether both mean the same files: an index may have got more of them since."""
        pairs = zip(self.packages, other.packages)
        return self.pins == other.pins and all(
            set(one.hashes) & set(two.hashes) or not (one.hashes and two.hashes) for one, two in pairs
        )

    def requirements(self, logins: Logins) -> tuple[list[str], list[str]]:
        """The lines for an installer: those with hashes, and the others.

        :param logins: those of the app
        """
        found: tuple[list[str], list[str]] = ([], [])
        for package in self.packages:
            found[0 if package.hashes else 1].append(
                _line(package._replace(address=logins.restored(package.name, package.address)))
            )
        return found


def _line(package: Resolved) -> str:
    return " ".join([requirement_of(package), *(f"--hash={value}" for value in package.hashes)])


def _plain(address: str, source: str) -> str:
    if source and address.startswith(f"file://{source}"):
        address = f"file://{SOURCE}{address.removeprefix(f'file://{source}')}"
    return masked(address)


def _in_source(address: str) -> str | None:
    start = f"file://{SOURCE}"
    return re.sub(r"[#?].*", "", address.removeprefix(start)).strip("/") if address.startswith(start) else None


def options_in(files: t.Iterable[str]) -> list[str]:
    """The options in requirement files that say where packages are, and which: they hold for a lock, too."""
    found = [text for path in files for _where, text in lines(path) if text.startswith("-") and not other_file(text)]
    return [text for text in dict.fromkeys(found) if not re.match(r"--require-hashes|-e\b|--editable", text)]


def hashes_in(files: t.Iterable[str], overridden: t.Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The hashes that requirement files give to a package, by its name.

    :param overridden: packages that have another version than the files may say. The hashes of another version are not theirs.
    """
    found: dict[str, set[str]] = {}
    for _where, text in (place for path in files for place in lines(path)):
        hashes, name = re.findall(r"--hash[=\s]+(sha256:[0-9a-f]{64})", text), requirement_name(text)
        is_other = name in overridden and not re.search(rf"==\s*{re.escape(overridden[name])}(?![\w.+!-])", text)
        if hashes and name and not is_other:
            found.setdefault(name, set()).update(hashes)
    return {name: tuple(sorted(hashes)) for name, hashes in found.items()}


def names_to_upgrade(value: t.Any) -> list[str]:
    """The packages that a user wants to resolve again: names, only `ALL`, or none."""
    texts = value if isinstance(value, (list, tuple)) else str(value or "").strip("[] ").split(",")
    names = [str(text).strip(" '\"") for text in texts]
    names = [name for name in names if name and name.lower() not in ("false", "no")]
    return [ALL] if any(name.lower() in (ALL, "yes") for name in names) else names


def options_of_installer(params: dict[str, t.Any]) -> dict[str, list[str]]:
    """The further arguments of the installer, which may decide what it installs, and how it builds that."""
    return {"extra_args": [masked(text) for text in params["extra_args"]]} if params["extra_args"] else {}


def inputs_key(params: dict[str, t.Any], python: str) -> str:
    """Sixteen hexadecimal digits that are the same as long as nothing changes that packages are resolved from.

    :param python: version of the interpreter; the last part of it does not count
    """
    inputs = {
        "needs": params["needs"],
        "packages": params["packages"],
        "server_packages": params["server_packages"],
        "overrides": params["overrides"],
        "installer": "uv" if params["uv"] else "pip",
        "python": python.split(".")[:2],
        "platform": platform(),
    }
    # Only what is set: the locks of hosts that were built without stay good.
    place = "wheelhouse" if params["wheelhouse"] else masked(params["index_url"])
    inputs.update({"index": place} if place else {}, **options_of_installer(params))
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
