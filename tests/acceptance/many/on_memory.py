# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs on the host: on_memory.py APP STOP_FILE looks at the instances of an app ten times a second until the file is there.

Prints JSON: for each instance the pids that its master had, one after the other, and the most memory that it took (RSS,
with its workers); the least number of instances that served at the same time; how often it looked. Uses nothing of the
collection. An instance serves if supervisord runs it and does not stop it, and all its workers have said that they are ready.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import time
import xmlrpc.client
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
RUNS = ("STARTING", "RUNNING")


class Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/run/supervisor/supervisor.sock")


class Transport(xmlrpc.client.Transport):
    def make_connection(self, host: object) -> http.client.HTTPConnection:
        return Connection("localhost")


def memory(master: int) -> int:
    total = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            facts = Path("/proc", pid, "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if master in (int(pid), int(facts[1])):
            total += int(facts[21]) * PAGE
    return total


def serves(app: str, one: dict) -> bool:
    try:
        record = json.loads(Path(f"/run/{app}/{one['name']}.json").read_text())
    except (OSError, ValueError):
        return False
    ready = list(Path(f"/run/{app}").glob(f"{one['name']}.{one['pid']}.*.ready"))
    return one["statename"] in RUNS and record["pid"] == one["pid"] and len(ready) >= record["workers"]


def main(app: str, stop: Path) -> None:
    supervisor = xmlrpc.client.ServerProxy("http://localhost/RPC2", Transport()).supervisor
    pids: dict[str, list[int]] = {}
    most: dict[str, int] = {}
    least, looked = 99, 0
    while not stop.exists():
        instances = [one for one in supervisor.getAllProcessInfo() if one["group"] == app]
        for one in instances:
            seen = pids.setdefault(one["name"], [])
            if one["pid"] and one["pid"] not in seen:
                seen.append(one["pid"])
            if one["pid"]:
                most[one["name"]] = max(most.get(one["name"], 0), memory(one["pid"]))
        least = min(least, sum(serves(app, one) for one in instances))
        looked += 1
        time.sleep(0.1)
    print(json.dumps({"pids": pids, "most": most, "least_serving": least, "looked": looked}))


main(sys.argv[1], Path(sys.argv[2]))
