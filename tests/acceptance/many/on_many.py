# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs on the host: prints every process that stays, as JSON. Uses nothing of the collection.

{"supervisord": [[pid, started]], "keeper of clock": [...], "clock-0": [...], ...}: what supervisord runs by the name of
its process (a gunicorn master with its workers), the other services by the name of their unit. A pid comes with the
time at which its process started, in ticks since boot: a pid that was given away again is another process.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path


def main_pids() -> dict[str, int]:
    """The running services that stay: what D-Bus starts, such as systemd-timedated, ends when nobody asks it."""
    shown = subprocess.run(
        ["systemctl", "show", "--property=Id,MainPID,SubState,BusName", "--", "*.service"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    units = [dict(line.split("=", 1) for line in block.splitlines()) for block in shown.strip().split("\n\n")]
    return {
        unit["Id"]: int(unit["MainPID"]) for unit in units if unit["SubState"] == "running" and not unit.get("BusName")
    }


def table() -> dict[int, tuple[int, int, bytes]]:
    """pid -> parent, start and command line."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            facts = Path("/proc", pid, "stat").read_text(errors="replace").rpartition(")")[2].split()
            found[int(pid)] = (int(facts[1]), int(facts[19]), Path("/proc", pid, "cmdline").read_bytes())
        except OSError:
            continue
    return found


def name_of(pid: int) -> str:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "ended"
    return next((one.partition("=")[2] for one in variables if one.startswith("SUPERVISOR_PROCESS_NAME=")), "?")


def main() -> None:
    services, processes = main_pids(), table()
    supervisord = services.get("supervisord.service")
    found = {unit: [(pid, processes[pid][1])] for unit, pid in services.items() if pid in processes}
    for pid, (parent, started, _) in processes.items():
        if supervisord and parent == supervisord:
            workers = [
                (child, processes[child][1])
                for child, (its_parent, _, command) in processes.items()
                if its_parent == pid and b"/venv/bin/gunicorn" in command
            ]
            found[name_of(pid)] = sorted([(pid, started), *workers])
    print(json.dumps(found, sort_keys=True))


main()
