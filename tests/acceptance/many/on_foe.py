# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the app `foe` does to the others and to root, in a process of its own. Prints what came of it, as JSON.

on_foe.py ATTACK: the name of one of the functions at the end. Paths and ports are those of the scenario.
"""

import fcntl
import glob
import json
import os
import signal
import socket
import sys
import time

RUN, LOG, ROOT = "/run/foe", "/var/log/foe", "/srv/foe"
VICTIMS = (5000, 5001, 5002)
NESTED = "[" * 60_000
FORGED = json.dumps({"pid": 1, "workers": 1, "release": "../../../etc", "gunicorn": "1\nERROR forged (host)\x1b[2J"})


def what_came_of(action, *arguments):
    try:
        action(*arguments)
    except OSError as error:
        return os.strerror(error.errno or 0)
    return "done"


def in_background(action, *arguments):
    """A daemon that ignores SIGTERM and keeps the environment of its gunicorn; its pid."""
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
                try:
                    action(*arguments)
                except OSError:
                    time.sleep(0.02)
        os._exit(0)
    os.wait()
    return int(os.read(reading, 20))


def take(address, port):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((address, port))
        listener.listen()
        time.sleep(0.01)


def take_ports_forever():
    for port in VICTIMS:
        what_came_of(take, "127.0.0.1", port)
    raise OSError


def drip():
    """In the place of the private socket: a byte every two seconds."""
    os.path.exists(f"{RUN}/foe-1.sock") and os.unlink(f"{RUN}/foe-1.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{RUN}/foe-1.sock")
        listener.listen(64)
        while True:
            client = listener.accept()[0]
            if os.fork() == 0:
                for letter in b"HTTP/1.1 200 OK\r\n" + b"A" * 600:
                    client.send(bytes([letter]))
                    time.sleep(2)
                os._exit(0)
            client.close()


def write(path, text, mode="w"):
    with open(path, mode) as stream:
        stream.write(text)


def hold(path):
    """As the lock of root, for as long as this process lives."""
    fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)


def hold_all_forever():
    for path in glob.glob("/etc/supervisor/*") + ["/etc/supervisor", "/etc/pygun", "/srv", ROOT, "/var/cache/pygun"]:
        what_came_of(hold, path)
    time.sleep(600)


# -- the attacks


def ports():
    """Take the address of others while it is theirs."""
    return {
        f"{address} {port}": what_came_of(take, address, port)
        for address in ("127.0.0.1", "0.0.0.0")
        for port in VICTIMS
    }


def texts():
    """Records, logs and names that root reads, or stumbles over."""
    pid = os.getpid()
    return {
        "nested record": what_came_of(write, f"{RUN}/foe-0.json", NESTED),
        "forged record": what_came_of(write, f"{RUN}/foe-1.json", FORGED),
        "nested log": what_came_of(write, f"{LOG}/foe-1.log", f"{NESTED}\n\x1b[2J\nERROR forged (host)\n", "a"),
        "log of 200 GB": what_came_of(os.truncate, f"{LOG}/foe-0.log", 200 * 1024**3),
        "name of a candidate": what_came_of(os.makedirs, f"{RUN}/foe-0.next/full"),
        "pipe": what_came_of(os.mkfifo, f"{RUN}/foe-0.{pid}.{pid}.ready"),
        "link to a device": what_came_of(os.symlink, "/dev/zero", f"{RUN}/foe-1.{pid}.{pid}.ready"),
        "link to a secret": what_came_of(os.symlink, "/etc/shadow", f"{RUN}/foe-1.{pid}.{pid}.requests"),
        "many names": what_came_of(lambda: [write(f"{RUN}/x{number}", "") for number in range(3000)]),
    }


def of_root():
    """Damage what root has written for this app, and hold what root locks."""
    return {
        **{
            path: what_came_of(write, f"{ROOT}/{path}", "{")
            for path in ("state.json", "activation.json", "activation.lock")
        },
        "current": what_came_of(os.replace, f"{ROOT}/shared", f"{ROOT}/current"),
        "interpreter": what_came_of(os.unlink, f"{ROOT}/current/venv/bin/python"),
        "candidate": what_came_of(os.symlink, "/tmp", "/run/pygun/foe/foe-0.next"),
        "its lock": what_came_of(hold, f"{ROOT}/activation.lock"),
        "the lock of programs": what_came_of(hold, "/etc/supervisor/conf.d.lock"),
        "rotation": what_came_of(hold, "/var/lib/pygun-logrotate/foe.conf.status"),
        **{path: what_came_of(hold, f"{path}/uv/.lock") for path in glob.glob("/var/cache/pygun/*")},
        "a log of another": what_came_of(os.link, "/var/log/hoard/hoard-0.log", f"{ROOT}/shared/log"),
    }


def daemons():
    """Leave behind what ends by no signal but SIGKILL."""
    return {
        "ports": in_background(take_ports_forever),
        "locks": in_background(hold_all_forever),
        "drip": in_background(drip),
    }


print(json.dumps(globals()[sys.argv[1]]()))
