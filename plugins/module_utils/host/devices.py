# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Devices that programs below supervisord use and that its unit is about to hide."""

from __future__ import annotations

import os
import re
import stat
import typing as t

from . import inspection
from .foreign import printable

_TRUE = ("true", "yes", "on", "1")
_UNIT = "/supervisord.service"
#: Devices that PrivateDevices leaves in /dev.
_KEPT = re.compile(r"/dev/(null|zero|full|u?random|tty|console|ptmx|log|(pts|shm|mqueue|hugepages|fd)(/.*)?)")


def refusal(sandbox: t.Mapping[str, t.Any]) -> str:
    """Which program would lose which device; empty if none would.

    :param sandbox: options of supervisord's unit
    """
    if str(sandbox.get("PrivateDevices", "")).lower() not in _TRUE:
        return ""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if _UNIT in inspection.read_text(f"/proc/{pid}/cgroup"):
            for device in devices_of(pid):
                name = printable(inspection.read_text(f"/proc/{pid}/comm").strip(), 40)
                return (
                    f"pid {pid} ({name}), which supervisord runs, has {device} open, and supervisord's unit hides it from its next start"
                    ' (PrivateDevices=true). Set supervisor_unit_options: {PrivateDevices: "false"}. Nothing was changed.'
                )
    return ""


def devices_of(pid: str) -> t.Iterator[str]:
    """The devices that a process has open and that PrivateDevices hides."""
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:  # it has ended, or a root without CAP_SYS_PTRACE may not look
        return
    for name in names:
        try:
            path = os.readlink(f"{folder}/{name}")
            if not path.startswith("/dev/") or _KEPT.fullmatch(path):
                continue
            mode = os.stat(f"{folder}/{name}").st_mode
        except OSError:
            continue
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            yield printable(path, 80)
