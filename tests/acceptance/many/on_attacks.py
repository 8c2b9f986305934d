# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs on the host as an app's user: what an app does to others and to root. Prints what came of each, as JSON.

on_attacks.py APP ATTACK: the app, and the name of one of the functions at the end. What came is the error of the system, or
`done`; of a daemon it is the pid. Ports and names are those of the scenario.
"""

import fcntl
import glob
import json
import os
import signal
import socket
import sys
import time

APP = sys.argv[1]
RUN, LOG, ROOT = f"/run/{APP}", f"/var/log/{APP}", f"/srv/{APP}"
VICTIMS = (5000, 5002)
NESTED = "[" * 60_000
FORGED = json.dumps({"pid": 1, "workers": 1, "release": "../../../etc", "gunicorn": "1\nERROR forged (host)\x1b[2J"})


def what_came_of(action, *arguments):
    try:
        action(*arguments)
    except OSError as error:
        return os.strerror(error.errno or 0)
    return "done"


def in_background(action):
    """A daemon that only SIGKILL ends, and that keeps the environment of its gunicorn; its pid."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(nowhere, descriptor)
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            os.write(writing, str(os.getpid()).encode())
            while True:
                what_came_of(action)
                time.sleep(0.02)
        os._exit(0)
    os.wait()
    return int(os.read(reading, 20))


def take(address, port):
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((address, port))
        listener.listen()


def take_ports():
    for port in VICTIMS:
        what_came_of(take, "127.0.0.1", port)


def drip():
    """In the place of a private socket: a byte every two seconds."""
    if os.path.exists(f"{RUN}/{APP}-1.sock"):
        os.unlink(f"{RUN}/{APP}-1.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{RUN}/{APP}-1.sock")
        listener.listen(64)
        while True:
            client = listener.accept()[0]
            if os.fork() == 0:
                for letter in b"HTTP/1.1 200 OK\r\n" + b"A" * 600:
                    client.send(bytes([letter]))
                    time.sleep(2)
                os._exit(0)
            client.close()


def write(path, text="{", mode="w"):
    with open(path, mode) as stream:
        stream.write(text)


def hold(path):
    """As a lock, for as long as this process lives."""
    fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)


def hold_folders():
    for path in ("/etc/supervisor", "/etc/supervisor/conf.d", "/etc/pygun", "/srv", ROOT, "/var/cache/pygun"):
        what_came_of(hold, path)
    time.sleep(600)


# -- the attacks


def ports():
    """Take the addresses of others while they are theirs."""
    return {
        f"{address} {port}": what_came_of(take, address, port)
        for address in ("127.0.0.1", "0.0.0.0")
        for port in VICTIMS
    }


def of_root():
    """Damage what root has written for this app, hold what it locks."""
    return {
        **{
            name: what_came_of(write, f"{ROOT}/{name}") for name in ("state.json", "activation.json", "activation.lock")
        },
        **{
            path: what_came_of(hold, path)
            for path in (
                f"{ROOT}/activation.lock",
                "/etc/supervisor/conf.d.lock",
                f"/var/lib/pygun-logrotate/{APP}.conf.status",
                *[f"{place}/uv/.lock" for place in glob.glob("/var/cache/pygun/*")],
            )
        },
        "current": what_came_of(os.replace, f"{ROOT}/shared", f"{ROOT}/current"),
        "the interpreter": what_came_of(os.unlink, f"{ROOT}/current/venv/bin/python"),
        "a log of another app": what_came_of(os.link, "/var/log/hoard/hoard-0.log", f"{ROOT}/shared/log"),
    }


def texts():
    """Records, logs and names that root reads, or meets."""
    pid = os.getpid()
    return {
        "a nested record": what_came_of(write, f"{RUN}/{APP}-0.json", NESTED),
        "a forged record": what_came_of(write, f"{RUN}/{APP}-1.json", FORGED),
        "a nested log": what_came_of(write, f"{LOG}/{APP}-1.log", f"{NESTED}\n\x1b[2J\nERROR forged (host)\n", "a"),
        "the name of a candidate": what_came_of(os.makedirs, f"{RUN}/{APP}-0.next/full"),
        "a pipe": what_came_of(os.mkfifo, f"{RUN}/{APP}-0.{pid}.{pid}.ready"),
        "a link to a device": what_came_of(os.symlink, "/dev/zero", f"{RUN}/{APP}-1.{pid}.{pid}.ready"),
        "a link to a secret": what_came_of(os.symlink, "/etc/shadow", f"{RUN}/{APP}-1.{pid}.{pid}.requests"),
        "many names": what_came_of(lambda: [write(f"{RUN}/x{number}") for number in range(3000)]),
    }


def logs():
    """Make the log large that root compresses, without taking room."""
    return {"a log of 200 GB": what_came_of(os.truncate, f"{LOG}/{APP}-0.log", 200 * 1024**3)}


def daemons():
    """Leave behind what only SIGKILL ends."""
    return {action.__name__: in_background(action) for action in (take_ports, hold_folders, drip)}


print(json.dumps(globals()[sys.argv[2]]()))
