# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ends what a supervisord that died has left running; systemd calls this after every stop of the unit.

Without it, the next supervisord would start every program a second time beside its orphan. A stop in order leaves
nothing here to do. Every orphan is asked to end (SIGTERM) and, ten seconds later, made to. gunicorn instances of an
app are asked only: they have let go of their socket and finish the requests in flight, within their own time limit,
while the new supervisord already starts their successors.
"""

import os
import signal
import sys
import time
from pathlib import Path

PATIENCE = 10.0  # seconds between SIGTERM and SIGKILL


def members():
    """Pids in this unit's control group, this process aside."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _number, controllers, path = line.split(":", 2)
        root = {"": "/sys/fs/cgroup", "name=systemd": "/sys/fs/cgroup/systemd"}.get(controllers)
        listing = Path(f"{root}{path}/cgroup.procs")
        if root and listing.exists():
            return {int(pid) for pid in listing.read_text().split()} - {os.getpid()}
    return set()


def parent(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def drains(pid):
    """Whether the process belongs to a gunicorn instance of an app (only their environment has this)."""
    try:
        return b"\0PYGUN_RUN_DIR=" in b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def send(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def main():
    left = members()
    if not left:
        return
    print(f"ending processes that supervisord left behind: {sorted(left)}", flush=True)
    send([pid for pid in left if parent(pid) not in left], signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while stubborn := [pid for pid in members() if not drains(pid)]:
        if time.monotonic() > deadline:
            print(f"killing those that did not end: {sorted(stubborn)}", flush=True)
            send(stubborn, signal.SIGKILL)
            return
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
