# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks of the host: disks, clock, memory, rotation of the logs."""

from __future__ import annotations

import typing as t

from .findings import ERROR, WARNING, Finding
from .report import bytes_text, seconds_text
from .state import Disk, HostState

#: Share of a file system (percent) and bytes below which it is nearly full.
NEARLY_FULL_PERCENT = 5
FULL_BYTES = 32 * 1024 * 1024
NEARLY_FULL_BYTES = 1024 * 1024 * 1024
#: Seconds by which a clock may differ from another one before logs, certificates and tokens suffer.
CLOCK_WARNING = 30.0
CLOCK_ERROR = 300.0


def check_disks(state: HostState) -> t.Iterator[Finding]:
    for disk in state.disks:
        yield from _check_space(disk)
        yield from _check_inodes(disk)


def _check_space(disk: Disk) -> t.Iterator[Finding]:
    if not disk.size:
        return
    full = disk.free < min(FULL_BYTES, disk.size // 50)
    if full or (100 * disk.free // disk.size < NEARLY_FULL_PERCENT and disk.free < NEARLY_FULL_BYTES):
        yield Finding(
            ERROR if full else WARNING,
            "disk-full" if full else "disk-nearly-full",
            disk.mount,
            f"{bytes_text(disk.free)} of {bytes_text(disk.size)} are free on {disk.mount}",
            "No space left on device: releases cannot be built, logs and readiness records cannot be written.",
            f"`du -xh --max-depth=2 {disk.mount} | sort -h` shows what takes the room. Lower"
            " flask_app_keep_releases or flask_app_log_backups, or make the volume larger.",
        )


def _check_inodes(disk: Disk) -> t.Iterator[Finding]:
    if disk.inodes and disk.inodes_free < max(16, disk.inodes // 200):
        yield Finding(
            ERROR,
            "inodes-full",
            disk.mount,
            f"{disk.inodes_free} of {disk.inodes} inodes are free on {disk.mount}",
            "No space left on device, though `df -h` shows room: there are too many small files.",
            f"`df -i` and `du --inodes -x --max-depth=2 {disk.mount} | sort -n` show where; remove them, or make the"
            " file system again with more inodes.",
        )


def seconds_ahead(state: HostState) -> float | None:
    """By how much the host's clock is ahead of the control node's; None if that is not known."""
    return state.now - state.options.control_clock if state.options.control_clock else None


def check_clock(state: HostState) -> t.Iterator[Finding]:
    remedy = "Set the clock and keep it set: `timedatectl set-ntp true`, or install chrony."
    ahead = seconds_ahead(state) or 0.0
    if abs(ahead) > CLOCK_WARNING:
        yield Finding(
            ERROR if abs(ahead) > CLOCK_ERROR else WARNING,
            "clock-off",
            "the clock",
            f"the host's clock is {seconds_text(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} the control node's",
            "One of the two clocks is wrong. Certificates and tokens fail, and logs cannot be put in order.",
            remedy,
        )
        return
    written = [(moment, path) for app in state.apps for path, moment in app.written.items()]
    newest, path = max(written, default=(0.0, ""))
    if newest > state.now + CLOCK_ERROR:
        yield Finding(
            ERROR,
            "clock-off",
            "the clock",
            f"{path} was written {seconds_text(newest - state.now)} in the future",
            "The host's clock is behind, or was ahead when that was deployed.",
            remedy,
        )


def check_memory(state: HostState) -> t.Iterator[Finding]:
    """Report an out-of-memory kill that is in no log of an instance."""
    if state.memory_kills:
        yield Finding(
            WARNING,
            "out-of-memory",
            state.options.unit,
            state.memory_kills,
            "The kernel killed a process because memory ran out (of the host, or of the unit's MemoryMax).",
            "Lower the number of workers (flask_app_workers), load less, or give the host or the unit more memory.",
            kind="memory",
        )


def check_rotation(state: HostState) -> t.Iterator[Finding]:
    timer = state.rotation
    if timer is None or (timer.get("UnitFileState") == "enabled" and timer.get("ActiveState") == "active"):
        return
    name = "pygun-logrotate.timer"
    yield Finding(
        WARNING,
        "rotation-off",
        name,
        f"{name} is {timer.get('UnitFileState') or 'not there'} and {timer.get('ActiveState', 'unknown')}",
        "The timer that rotates the logs of the apps was stopped or disabled: they grow until the volume is full.",
        f"systemctl enable --now {name}; if it is not there, deploy.",
    )


def check_apps_exist(state: HostState) -> t.Iterator[Finding]:
    options = state.options
    if not state.apps:
        yield Finding(
            WARNING,
            "no-app",
            options.name or "the host",
            f"there is no app in {options.conf_dir}/conf.d, and none in {options.base_dir}",
            "Nothing has been deployed here, or it is somewhere else.",
            "Deploy, or pass flask_app_base_dir and supervisor_conf_dir to the doctor.",
        )
