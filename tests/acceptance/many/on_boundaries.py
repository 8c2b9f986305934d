# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs on the host as a user: prints what of other apps and of root this user can read, change, ask or end, as JSON.

on_boundaries.py APP PID: an app whose user this is not, and a process of it
"""

import glob
import json
import os
import socket
import sys

APP, PID = sys.argv[1], int(sys.argv[2])
READ = [
    f"/etc/pygun/{APP}.env",
    f"/srv/{APP}/current/src/wsgi.py",
    f"/srv/{APP}/current/release.json",
    f"/srv/{APP}/shared",
    f"/srv/{APP}/activation.lock",
    f"/var/log/{APP}/{APP}-0.log",
    f"/run/{APP}",
    *[f"/proc/{PID}/{name}" for name in ("environ", "maps", "mem", "fd", "cwd")],
    *glob.glob("/dev/shm/*"),
    *glob.glob("/var/log/journal/*/*"),
    *glob.glob("/run/log/journal/*/*"),
    "/etc/supervisor/supervisord.conf",
    *glob.glob("/var/cache/pygun/*"),
]
CHANGE = [
    *glob.glob("/srv/*"),
    *glob.glob("/srv/*/releases"),
    *glob.glob("/srv/*/releases/*/venv/bin"),
    *glob.glob("/var/log/*/"),
    *glob.glob("/run/pygun/*"),
    "/run/pygun",
    "/run/supervisor",
    "/etc/pygun",
    "/etc/supervisor/conf.d",
    "/etc/systemd/system",
    "/etc/tmpfiles.d",
    "/opt/pygun",
    "/var/cache/pygun",
    "/var/lib/pygun-logrotate",
]
ASK = [f"/run/{APP}/{APP}-0.sock", f"/run/{APP}/keeper.sock", "/run/supervisor/supervisor.sock"]


def tried(action, *arguments):
    try:
        action(*arguments)
    except OSError:
        return False
    return True


def read(path):
    if os.path.isdir(path):
        os.listdir(path)
    else:
        with open(path, "rb") as stream:
            stream.read(0 if path.endswith("/mem") else 1)  # the first page of a process is nobody's


def ask(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def change(folder):
    path = os.path.join(folder, ".probe")
    os.mkdir(path)
    os.rmdir(path)


found = [f"read {path}" for path in READ if tried(read, path)]
found += [f"change {path}" for path in CHANGE if tried(change, path)]
found += [f"ask {path}" for path in ASK if tried(ask, path)]
found += [f"end pid {PID}"] if tried(os.kill, PID, 0) else []
print(json.dumps(found))
