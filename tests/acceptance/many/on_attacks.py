# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs on the host as the user of the app `greeter`: takes addresses of others, damages what root has written, holds what root locks.

Prints what came of each, as JSON: the error of the system, or `done`.
"""

import fcntl
import glob
import json
import os
import socket

ROOT = "/srv/greeter"


def what_came_of(action, *arguments):
    try:
        action(*arguments)
    except OSError as error:
        return os.strerror(error.errno or 0)
    return "done"


def take(address, port):
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((address, port))
        listener.listen()


def write(path):
    with open(path, "w") as stream:
        stream.write("{")


def hold(path):
    """As a lock, for as long as this process lives."""
    fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)


said = {
    f"{address} {port}": what_came_of(take, address, port)
    for address in ("127.0.0.1", "0.0.0.0")
    for port in (5000, 5002)
}
said |= {name: what_came_of(write, f"{ROOT}/{name}") for name in ("state.json", "activation.json", "activation.lock")}
said |= {
    path: what_came_of(hold, path)
    for path in (
        f"{ROOT}/activation.lock",
        "/etc/supervisor/conf.d.lock",
        "/var/lib/pygun-logrotate/greeter.conf.status",
        *[f"{place}/uv/.lock" for place in glob.glob("/var/cache/pygun/*")],
    )
}
said |= {
    "current": what_came_of(os.replace, f"{ROOT}/shared", f"{ROOT}/current"),
    "the interpreter": what_came_of(os.unlink, f"{ROOT}/current/venv/bin/python"),
    "a log of another app": what_came_of(os.link, "/var/log/hoard/hoard-0.log", f"{ROOT}/shared/log"),
}
print(json.dumps(said))
