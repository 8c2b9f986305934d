# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs on the host: prints all that stands there, one thing a line: files, accounts, units, packages, processes of apps."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from pathlib import Path

#: What changes by itself on an idle host (the distribution's timers are due at any time), what Ansible leaves in its own
#: temporary folder, and what the tests have put there.
LEFT_OUT = (
    "/proc",
    "/sys",
    "/dev",
    "/tmp",
    "/run/systemd",
    "/run/log",
    "/run/udev",
    "/var/backups",
    "/var/cache/apt",
    "/var/lib/apt",
    "/var/lib/logrotate",
    "/var/lib/pygun-acceptance",
    "/var/log/apt",
    "/var/log/journal",
    "/root/.ansible",
)
#: Their content as well. Of the rest the name, the kind and the owner tell enough.
READ = ("/etc", "/usr/local")
#: Kept by the programs that change accounts, which give them other modes at the first change; the accounts themselves are listed.
BACKUPS = ("/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-")
#: What tells one host from another.
NOT_READ = (
    "/etc/hostname",
    "/etc/hosts",
    "/etc/machine-id",
)
#: Made by systemd at each boot, with a name of its own.
PRIVATE = "/var/tmp/systemd-private-"  # noqa: S108

for folder, names, others in os.walk("/"):
    names[:] = sorted(name for name in names if os.path.join(folder, name) not in LEFT_OUT)
    for name in sorted([*names, *others]):
        path = os.path.join(folder, name)
        if path.startswith(PRIVATE) or path in BACKUPS:
            continue
        status = os.lstat(path)
        content = ""
        if stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(status.st_mode) and path.startswith(READ) and path not in NOT_READ:
            content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        print(f"{path} {status.st_mode:o} {status.st_uid}:{status.st_gid} {content}")
for command in (
    ["systemctl", "list-unit-files", "--no-legend", "--plain"],
    [
        "systemctl",
        "list-units",
        "--all",
        "--no-legend",
        "--plain",
        "--type=service,socket,timer",
        "*pygun*",
        "*supervisor*",
    ],
    ["dpkg-query", "-W"],
):
    print(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        continue
    if "/srv/" in command or "/opt/" in command:
        print(f"process {command}")
