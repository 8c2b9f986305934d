# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find supervisors that the collection did not install, and foreign files in the places of ours. Reads only."""

from __future__ import annotations

import os
import re
import typing as t

from ..host import inspection
from . import program_scope
from .conf import program_files

UNIT = "/etc/systemd/system/supervisord.service"
#: A unit that runs our launcher.
_OUR_UNIT = re.compile(r"^ExecStart=\S+ -I \S+/supervisord\.py \S+/supervisor/bin/supervisord ", re.MULTILINE)
#: A sentence of our supervisord.conf, whatever its head says.
_OUR_CONFIGURATION = "; It starts programs as other users, so it is root, and says so.\n"
_OUR_PROGRAM = "/pygun_runtime/launch.py"


def is_supervisord(command: tuple[str, ...]) -> bool:
    """Whether a command runs supervisord: by itself, as the script of a Python, or behind our launcher."""
    scripts = [part for part in command[2:4] if "/" in part] if "python" in "".join(command[:1]) else []
    return "supervisord" in [os.path.basename(part) for part in (*command[:2], *scripts)]


def is_our_unit(path: str) -> bool:
    """Whether a unit runs the supervisord of the collection."""
    return bool(_OUR_UNIT.search(inspection.read_text(path)))


def is_our_configuration(path: str) -> bool:
    """Whether a supervisord.conf is the collection's."""
    return _OUR_CONFIGURATION in inspection.read_text(path)


def is_installed() -> bool:
    """Whether the collection has installed its supervisord here, to the end."""
    return is_our_unit(UNIT)


def running(conf_dir: str, tools_dir: str) -> list[str]:
    """Supervisors that would fight with ours: the distribution's, and before ours is installed any that reads the same places."""
    installed, found = is_installed(), []
    processes = inspection.processes()
    others = {
        pid: process
        for pid, process in processes.items()
        if is_supervisord(process.command) and not any(part.startswith(f"{tools_dir}/") for part in process.command)
    }
    for process in others.values():
        if process.parent in others or (installed and process.unit == os.path.basename(UNIT)):
            continue
        named = any(part.startswith(("-c", "--configuration")) for part in process.command[1:])
        same = any(f"{conf_dir}/" in part for part in process.command[1:]) or not named
        if process.unit == "supervisor.service" or (not installed and process.user == "root" and same):
            found.append(process.brief)
    return found


def in_our_places(conf_dir: str, tools_dir: str, ctl_link: str = "") -> list[str]:
    """Files of others that ours would replace or start, before ours is installed."""
    if is_installed():
        return []
    found = [path for path in _files(conf_dir) if os.path.lexists(path)]
    wanted = links(tools_dir, ctl_link)
    return found + [path for path, target in wanted.items() if os.path.lexists(path) and not links_to(path, target)]


def links(tools_dir: str, ctl_link: str) -> dict[str, str]:
    """The links that bring our commands into the search path, with their targets."""
    if not ctl_link:
        return {}
    ours = os.path.join(os.path.dirname(ctl_link), "pygun")
    return {ctl_link: f"{tools_dir}/supervisor/bin/supervisorctl", ours: f"{tools_dir}/pygun"}


def _files(conf_dir: str) -> t.Iterator[str]:
    configuration = os.path.join(conf_dir, "supervisord.conf")
    if not is_our_configuration(configuration):
        yield configuration
    for path in program_files(conf_dir):
        text = inspection.read_text(path)
        if not (_OUR_PROGRAM in text or program_scope.scope_of(text)):
            yield path
    yield UNIT


def links_to(path: str, target: str) -> bool:
    """Whether a path is a link to that."""
    return os.path.islink(path) and os.readlink(path) == target
