# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Refuse a lock that was made for other systems than those of the hosts."""

from __future__ import annotations

from collections.abc import Iterator

from ...module_utils.release.installable import wheel_refusal
from ..requirement_files import Refused
from . import markers
from .lock import Lock

_HOSTS = "hosts are Linux with glibc and CPython 3"
_OF_LINUX = ("linux", "manylinux")


def check(lock: Lock, content: dict) -> None:
    """Look at the systems that a lock names, and at the files of its packages.

    :param content: the contents of the lock
    :raises Refused: when no host can be meant
    """
    named = list(_systems(content))
    if named and not any(_may_be_host(text) for text in named):
        raise Refused(
            f"{lock.path} is for {' and '.join(named)} only, and {_HOSTS}. Lock for Linux as well, with `{lock.command}`."
        )
    for package, marker in lock.needed.items():
        wheels = [name for name in package.files if name.endswith(".whl")]
        is_for_some = any("platform_machine" in comparison for part in marker for comparison in part)
        if wheels and marker and not is_for_some and wheels == list(package.files) and all(map(wheel_refusal, wheels)):
            more = f" and {len(wheels) - 1} more" if len(wheels) > 1 else ""
            raise Refused(
                f"{lock.where(package.name)} has {wheels[0]}{more} only, and {_HOSTS}. Lock for Linux, on Linux or with a tool that locks for"
                " all systems (such as uv or Poetry)."
            )


def _systems(content: dict) -> Iterator[str]:
    """The systems that a lock is for, as markers or as names of platforms; none if it is for all."""
    yield from content.get("supported-markers", ())
    yield from content.get("environments", ())
    targets = content.get("metadata", {}).get("targets", ())
    if all("platform" in target for target in targets):
        yield from (target["platform"] for target in targets)


def _may_be_host(text: str) -> bool:
    if text.replace("_", "").isalnum():
        return text.startswith(_OF_LINUX)
    try:
        return markers.parse(text) != markers.NEVER
    except markers.MarkerError:
        return True
