# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prints all that stands and runs on this host, one thing a line: every file with its content's digest and the times of
its last changes, and every process with the time of its start. Two equal listings mean that nothing was changed between.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

#: What changes by itself on an idle host (clocks, journals, the timers of the distribution), and what Ansible may leave in its own temporary folder.
LEFT_OUT = (
    "/proc",
    "/sys",
    "/dev",
    "/tmp",
    "/run/systemd",
    "/run/credentials",
    "/run/log",
    "/run/udev",
    "/var/log/journal",
    "/var/lib/systemd/timers",
    "/var/lib/apt",
    "/root/.ansible",
)
#: Read as a whole; of the rest (the distribution's files) the times and sizes tell enough.
READ = ("/etc", "/srv", "/opt", "/run", "/usr/local", "/var/log", "/var/lib/dpkg", "/var/cache/pygun")


def files():
    for folder, names, others in os.walk("/"):
        names[:] = sorted(name for name in names if os.path.join(folder, name) not in LEFT_OUT)
        for name in sorted([*names, *others]):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            content = ""
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode) and path.startswith(READ):
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
            yield f"{path} {status.st_ino} {status.st_mode:o} {status.st_uid}:{status.st_gid} {status.st_size} {times} {content}"


def processes():
    """All but this one and the shell that it came by."""
    mine = {os.getpid(), os.getppid()}
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            started = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
        except OSError:
            continue
        if pid not in mine and command:
            yield f"process {pid} since {started}: {command}"


for line in (*files(), *processes()):
    print(line)
