# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The packages that an installer has chosen, as uv and pip say it."""

from __future__ import annotations

import re
import typing as t

from .host import foreign
from .host.build_account import InstallError

_REPORT_AT_MOST = 16 << 20


class Resolved(t.NamedTuple):
    """One package that an installer has chosen: its version or, if it comes from none of the indexes, its address."""

    name: str
    version: str = ""
    address: str = ""
    #: Such as ``sha256:0f...``; none if the installer knows none.
    hashes: tuple[str, ...] = ()


def normalize(name):
    """The form of a distribution's name in which two spellings of it are equal (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_of(package):
    """The requirement that asks for a `Resolved` package, and for no other version of it."""
    return f"{package.name} @ {package.address}" if package.address else f"{package.name}=={package.version}"


def chosen_by_uv(said):
    """The packages in the list that uv prints."""
    found = re.findall(r"^ [+~] (\S+?)(?:==(\S+)| @ (\S+))(?: \(from (\S+)\))?$", said, re.MULTILINE)
    return [Resolved(normalize(name), "" if far or of else version, far or of) for name, version, far, of in found]


def chosen_by_pip(report):
    """The packages in a report of pip's."""
    try:
        with foreign.opened(report) as stream:
            items = foreign.parse(stream.read(_REPORT_AT_MOST).decode("utf-8", "replace"))["install"]
        return [_of_report(item) for item in items]
    except (OSError, foreign.Unreadable, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InstallError(f"pip's report cannot be read: {error}") from error


def _of_report(item):
    name, version, origin = item["metadata"]["name"], item["metadata"]["version"], item["download_info"]
    hashes = origin.get("archive_info", {}).get("hashes", {})
    address = ""
    if item.get("is_direct"):
        address = origin["url"]
        if "vcs_info" in origin:
            address = f"{origin['vcs_info']['vcs']}+{address}@{origin['vcs_info']['commit_id']}"
        if "subdirectory" in origin:
            address += f"#subdirectory={origin['subdirectory']}"
    hashes = tuple(f"sha256:{value}" for kind, value in hashes.items() if kind == "sha256")
    return Resolved(normalize(name), str(version), address, hashes)
