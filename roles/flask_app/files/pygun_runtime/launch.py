# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Start one instance of an app, or a program of its release: supervisor's programs run this file with `python -I`.

It is the fixed point between releases of different versions, so it stays small and knows only names:

* the instance's number is what follows the last "-" of SUPERVISOR_PROCESS_NAME;
* a number at or above PYGUN_INSTANCES holds the public socket (fd 0) open and serves nothing;
* `pygun/<app>/<instance>.next` beside `$PYGUN_RUN_DIR` (normally in /run, in a directory that only root can write) is a
  symbolic link to a candidate release. It is started with PYGUN_GATE=1, which makes an unhealthy worker refuse to serve;
* otherwise the release that this file belongs to is started;
* fd 1 becomes fd 2: what is printed below Python goes to <instance>.raw.log, of which supervisor takes care. The other
  log of the instance is written by the runtime.

With arguments, `launch.py ROOT PROGRAM [ARGUMENT]...`, it starts a program of the release (`flask_app_programs`) by the release's
`run.py`: that of the candidate, or `ROOT/current`. supervisor runs a copy of this file outside of all releases there, since a release
of an older runtime cannot do that. `<process>.json` in the run directory says which release runs.

The release is started by its real path. So `ps` shows it, and a worker that is respawned later, after the
`current` link has moved, still runs the code of its siblings.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_SLEEP = "/bin/sleep"
#: Beside the run directories. An activation looks for this name: launchers that lack it want the links in the run directory.
CANDIDATES = "pygun"


def fail(message: str) -> None:
    """End with a message that supervisor writes to the instance's log."""
    print(f"pygun: {message}", file=sys.stderr, flush=True)
    sys.exit(1)


def instance_number(name: str) -> int:
    """The number in an instance's name: 1 for "scoring-1"."""
    number = name.rpartition("-")[2]
    if not number.isdigit():
        fail(f"SUPERVISOR_PROCESS_NAME is {name!r}, expected <app>-<number>: this file is started by supervisor")
    return int(number)


def own_release(file: str) -> Path:
    """The release that a launcher at <release>/lib/pygun_runtime/launch.py belongs to."""
    return Path(file).resolve().parents[2]


def candidate(run_dir: str, name: str) -> Path | None:
    """The release that an activation wants this instance to try, or None.

    Only root's word counts: the link decides which code runs.
    """
    if not run_dir:
        return None
    folder = Path(run_dir).parent / CANDIDATES / Path(run_dir).name
    link = folder / (name + ".next")
    try:
        place = folder.lstat()
        if place.st_uid != 0 or place.st_mode & 0o022 or not link.is_symlink() or link.lstat().st_uid != 0:
            return None
        release = link.resolve(strict=True)
    except OSError:
        return None
    return release if (release / "pygun.py").is_file() else None


def end_with_parent(number: int = signal.SIGTERM) -> None:
    """Be sent a signal when the parent dies, however it dies. The successor of a supervisord starts new instances on a new socket."""
    parent = os.getppid()
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    except (OSError, AttributeError):
        return  # it only shortens a disturbance
    if os.getppid() != parent:  # died just before
        sys.exit(1)


def hold_socket(name: str) -> None:
    """Keep fd 0 open, so that the kernel's backlog holds callers while no instance serves; in the least of memory."""
    for ignored in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(ignored, signal.SIG_IGN)
    os.execv(_SLEEP, [f"{name}: holds the public socket", "infinity"])  # noqa: S606


def environment_digest(release: Path) -> str:
    """The digest of the environment file, as an instance records it."""
    try:
        service = json.loads((release / "release.json").read_bytes())["service"]
        return hashlib.sha256(Path(service["env_file"]).read_bytes()).hexdigest()
    except (OSError, ValueError, KeyError, TypeError):
        return hashlib.sha256().hexdigest()


def write_record(run_dir: str, name: str, release: Path) -> None:
    """Say which release this process runs. Without a record, the next deploy restarts the program."""
    record = {"pid": os.getpid(), "release": release.name, "started": time.time()}
    path = Path(run_dir) / f"{name}.json"
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(json.dumps({**record, "env_digest": environment_digest(release)}), encoding="utf-8")
        beside.rename(path)
    except OSError as error:
        print(f"pygun: cannot write {path}: {error.strerror}", file=sys.stderr, flush=True)


def start_program(root: str, command: list[str]) -> None:
    """Execute a program of the release; the process keeps its pid."""
    name, run_dir = os.environ.get("SUPERVISOR_PROCESS_NAME", ""), os.environ.get("PYGUN_RUN_DIR", "")
    release = candidate(run_dir, name) or (Path(root) / "current").resolve()
    python, run = str(release / "venv" / "bin" / "python"), release / "lib" / "pygun_runtime" / "run.py"
    if not run.exists():
        fail(f"release {release} cannot run programs: deploy it again with this version of pygun.stack")
    write_record(run_dir, name, release)
    try:
        os.execv(python, [python, "-IS", str(run), *command])  # noqa: S606
    except OSError as error:
        fail(f"cannot start {command[0]} of release {release}: {error}")


def main() -> None:
    if len(sys.argv) > 2:
        end_with_parent()
        start_program(sys.argv[1], sys.argv[2:])
    name = os.environ.get("SUPERVISOR_PROCESS_NAME", "")
    os.dup2(2, 1)
    end_with_parent()
    if instance_number(name) >= int(os.environ.get("PYGUN_INSTANCES", "1")):
        hold_socket(name)

    release = candidate(os.environ.get("PYGUN_RUN_DIR", ""), name)
    if release:
        os.environ["PYGUN_GATE"] = "1"
    else:
        os.environ.pop("PYGUN_GATE", None)
        release = own_release(__file__)

    programs = release / "venv" / "bin"
    python, run = str(programs / "python"), release / "lib" / "pygun_runtime" / "run.py"
    command = [python, str(programs / "gunicorn"), "-c", str(release / "pygun.py")]
    if run.exists():  # it sets the app's environment; a release of an older runtime has none
        command = [python, "-IS", str(run), *command]
    try:
        # gunicorn puts the working directory on sys.path before it reads its settings.
        os.chdir(release / "src" if (release / "src").is_dir() else release)
        os.execv(python, command)  # noqa: S606
    except OSError as error:
        fail(f"cannot start release {release}: {error}")


if __name__ == "__main__":
    main()
