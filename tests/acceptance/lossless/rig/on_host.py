# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs on the host: says what stands there, and kills at a given moment. Answers with one line of JSON.

    on_host.py observe APP              everything that a failed deploy must leave as it was
    on_host.py kill-module APP STEP     SIGKILL to the module's process once the transaction has come to that step
    on_host.py wait APP STEP            the same, without the kill
    on_host.py wait-end APP             until no process holds the app's lock
    on_host.py kill APP WHAT            SIGKILL to a worker, a master or supervisord; then wait for recovery
    on_host.py recovered APP            wait until every instance is ready

Uses nothing of the collection: what it says must not depend on what it judges.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pwd
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

PATIENCE = 300.0  # seconds; as long as a deploy may take on a slow machine
# Who holds the public socket and serves nothing, or hands over the one that systemd holds.
KEEPS = (": holds the public socket", "/keeper.py")


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def command_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return ""


def pids() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def supervisord() -> int:
    shown = subprocess.run(
        ["systemctl", "show", "supervisord", "--property=MainPID", "--value"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(shown.stdout)


def processes_of(app: str) -> list[int]:
    """All processes of the app's user."""
    user = pwd.getpwnam(app).pw_uid
    found = []
    for pid in pids():
        try:
            if os.stat(f"/proc/{pid}").st_uid == user and state_of(pid) not in ("Z", ""):
                found.append(pid)
        except OSError:
            continue
    return found


def is_gunicorn(pid: int) -> bool:
    return any(part.endswith("/venv/bin/gunicorn") for part in command_of(pid))


def instances(app: str) -> list[dict]:
    """The masters that supervisord runs, with what /proc tells about them."""
    mine = processes_of(app)
    found = []
    for pid in mine:
        command = " ".join(command_of(pid))
        if not is_gunicorn(pid) or parent_of(pid) in mine:
            continue
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        name = next((v.partition("=")[2] for v in variables if v.startswith("SUPERVISOR_PROCESS_NAME=")), "?")
        workers = [other for other in mine if parent_of(other) == pid and is_gunicorn(other)]
        release = re.search(r"/releases/([0-9a-f]{16})/", command)
        found.append(
            {
                "name": name,
                "pid": pid,
                "release": release.group(1) if release else None,
                "workers": workers,
                "ready": [w for w in workers if Path(f"/run/{app}/{name}.{pid}.{w}.ready").exists()],
            }
        )
    return sorted(found, key=lambda one: one["name"])


def statuses(app: str) -> dict[str, str]:
    shown = subprocess.run(
        ["supervisorctl", "-c", "/etc/supervisor/supervisord.conf", "status"],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    words = [line.split() for line in shown.splitlines()]
    return {line[0].partition(":")[2]: line[1] for line in words if len(line) > 1 and line[0].startswith(f"{app}:")}


def listeners(port: int) -> dict[str, list[int]]:
    """Each listening socket of a TCP port, and the processes that hold it."""
    sockets = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port:
            sockets[f"socket:[{words[9]}]"] = []
    for pid in pids():
        try:
            held = {os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")}
        except OSError:
            continue
        for socket, holders in sockets.items():
            if socket in held:
                holders.append(pid)
    return sockets


def fingerprint(path: Path) -> str:
    found = path.lstat()
    content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
    return f"{found.st_mode:o} {found.st_uid}:{found.st_gid} {hashlib.sha256(content).hexdigest()[:16]}"


def files() -> dict[str, str]:
    """Every file outside of the app's own directory that a deploy may write."""
    folders = ("/etc/supervisor", "/etc/pygun", "/etc/tmpfiles.d", "/etc/systemd/system")
    places = [Path(folder) for folder in folders]
    return {
        str(path): fingerprint(path)
        for place in places
        if place.exists()
        for path in sorted(place.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def leftovers(app: str) -> list[str]:
    """What only an unfinished transaction has."""
    root, run = Path("/srv", app), Path("/run", app)
    found = [*run.glob("*.next*"), *run.parent.glob(f"pygun/{run.name}/*"), *run.glob("*.tmp")]
    found += [
        path for path in root.iterdir() if path.name == "activation.json" or path.name.endswith((".tmp", ".before"))
    ]
    for folder in ("/etc/supervisor", "/etc/pygun"):
        found += [path for path in Path(folder).rglob("*") if path.name.endswith((".tmp", ".before"))]
    releases = root / "releases"
    found += [path for path in releases.iterdir() if not (path / "release.json").is_file()]
    return sorted(map(str, found))


def read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def observe(app: str) -> dict:
    root = Path("/srv", app)
    running = instances(app)
    keepers = [pid for pid in processes_of(app) if any(part.endswith(KEEPS) for part in command_of(pid))]
    known = {pid for one in running for pid in (one["pid"], *one["workers"])} | set(keepers)
    return {
        "current": os.path.basename(os.readlink(root / "current")) if (root / "current").is_symlink() else None,
        "state": read_json(root / "state.json"),
        "releases": sorted(path.name for path in (root / "releases").iterdir()),
        "files": files(),
        "leftovers": leftovers(app),
        "instances": running,
        "strangers": [{"pid": pid, "command": command_of(pid)} for pid in processes_of(app) if pid not in known],
        "statuses": statuses(app),
        "supervisord": supervisord(),
        "keepers": keepers,
    }


# --- moments --------------------------------------------------------------------------------------------------------


def modules() -> list[int]:
    """Processes in which Ansible runs a module: Python that got its program on stdin, or a file of Ansible's."""
    found = []
    for pid in pids():
        command = command_of(pid)
        if command and re.fullmatch(r"(/usr/bin/)?python3(\.\d+)?", command[0]) and pid != os.getpid():
            if len(command) == 1 or any("AnsiballZ_" in part for part in command):
                found.append(pid)
    return found


def wait_for(app: str, step: str) -> list[int]:
    """Until the transaction has come to a step; the pids of the module that is at it.

    Some steps are over within a millisecond: this looks for them without a pause, which takes a whole processor.
    """
    pause = 0 if step in ("files", "verify", "commit") else 0.005
    root = Path("/srv", app)
    journal = root / "activation.json"
    deadline = time.monotonic() + PATIENCE
    before = set(os.listdir(root / "releases"))
    pattern = re.compile(rb'"step": "' + step.encode() + rb'"')
    while time.monotonic() < deadline:
        time.sleep(pause)
        if step == "build":
            if any(
                not (root / "releases" / name / "release.json").exists()
                for name in set(os.listdir(root / "releases")) - before
            ):
                return modules()
            continue
        try:
            text = journal.read_bytes()
        except OSError:
            continue
        if pattern.search(text):
            pid = json.loads(text).get("pid")
            if state_of(pid) not in ("Z", ""):
                return [pid]
    raise SystemExit(f"no transaction of {app} came to the step {step} within {PATIENCE:g} s")


def wait_end(app: str) -> dict:
    begun = time.monotonic()
    with open(f"/srv/{app}/activation.lock", "r+") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return {"waited": time.monotonic() - begun}
            except BlockingIOError:
                if time.monotonic() - begun > PATIENCE:
                    raise SystemExit("the lock is still held") from None
                time.sleep(0.1)


def is_ready(app: str, count: int, avoid: set[int]) -> bool:
    running = instances(app)
    return len(running) == count and all(
        one["ready"] and len(one["ready"]) == len(one["workers"]) and not avoid & {one["pid"], *one["workers"]}
        for one in running
    )


def recovered(app: str, avoid: set[int], count: int = 2) -> float:
    """The moment at which every instance was ready again, without the processes that were killed."""
    deadline = time.monotonic() + PATIENCE
    while not is_ready(app, count, avoid):
        if time.monotonic() > deadline:
            raise SystemExit(f"{app} did not recover within {PATIENCE:g} s: {json.dumps(instances(app))}")
        time.sleep(0.1)
    return time.time()


def running(app: str) -> float:
    """The moment at which supervisord, too, took every instance for running."""
    deadline = time.monotonic() + PATIENCE
    while set(statuses(app).values()) != {"RUNNING"} and time.monotonic() < deadline:
        time.sleep(0.5)
    return time.time()


def kill(app: str, what: str) -> dict:
    found = instances(app)
    victim = {
        "worker": lambda: found[0]["workers"][0],
        "master": lambda: found[0]["pid"],
        "supervisord": supervisord,
    }[what]()
    avoid = {victim}
    if what != "worker":  # the successor has workers of its own
        avoid |= {pid for one in found[: 1 if what == "master" else 2] for pid in (one["pid"], *one["workers"])}
    os.kill(victim, signal.SIGKILL)
    at = time.time()
    ready = recovered(app, avoid)
    return {"pid": victim, "at": at, "ready": ready, "running": running(app)}


def main() -> None:
    word, app, *values = sys.argv[1:]
    if word == "observe":
        answer = observe(app)
    elif word == "kill-module":
        killed = wait_for(app, values[0])
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        if not killed:
            raise SystemExit("no module was running")
        answer = {"killed": killed, "at": time.time()}
    elif word == "wait":
        answer = {"pids": wait_for(app, values[0]), "at": time.time()}
    elif word == "wait-end":
        answer = wait_end(app)
    elif word == "kill":
        answer = kill(app, values[0])
    elif word == "recovered":
        answer = {"at": recovered(app, set())}
        running(app)
    elif word == "listeners":
        answer = listeners(int(values[0]))
    else:
        raise SystemExit(f"what is {word}?")
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
