"""Where things are, and how other programs are run."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"


class Failed(Exception):
    """A command cannot go on; the text says why and what to do."""


def say(text: str) -> None:
    """One line about what is being done, before it is done."""
    sys.stderr.write(f"==> {text}\n")  # in one piece, also with several threads
    sys.stderr.flush()


def run(*command: str | Path, **options) -> subprocess.CompletedProcess:
    """Run a program to its end; its failure is ours."""
    try:
        return subprocess.run([str(part) for part in command], check=True, **options)
    except subprocess.CalledProcessError as error:
        details = "\n".join(
            text.strip() for text in (error.stdout, error.stderr) if isinstance(text, str) and text.strip()
        )
        shown = " ".join(str(part) for part in command[:6])
        raise Failed(f"`{shown}` ended with code {error.returncode}." + (f"\n{details}" if details else "")) from error
    except FileNotFoundError as error:
        raise Failed(f"`{command[0]}` is not installed.") from error


def output(*command: str | Path, **options) -> str:
    """What a program prints, without the newline at the end."""
    return run(*command, capture_output=True, text=True, **options).stdout.strip()


def logged(log: Path, *command: str | Path, cwd: Path = ROOT, **options) -> None:
    """Run a program with all that it prints at the end of a log."""
    with log.open("a") as lines:
        lines.write(f"$ {' '.join(map(str, command))}\n")
        lines.flush()
        run(*command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=lines, stderr=subprocess.STDOUT, **options)


def succeeds(*command: str | Path, **options) -> bool:
    """Whether a program ends with 0; False too if there is none of that name or it takes too long."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            **options,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def prepare_path() -> None:
    """A plain `su` leaves out the folders where podman's helpers and mmdebstrap's tools are."""
    present = os.environ.get("PATH", os.defpath).split(os.pathsep)
    missing = [folder for folder in ("/usr/local/sbin", "/usr/sbin", "/sbin") if folder not in present]
    os.environ["PATH"] = os.pathsep.join(present + missing)


def install(packages: list[str], reason: str) -> None:
    """Install Debian packages, saying which and why. Only called for what is missing."""
    say(f"Installing {', '.join(packages)} with apt ({reason}).")
    if not shutil.which("apt-get"):
        raise Failed(f"This machine has no apt. Install by hand: {' '.join(packages)} ({reason}).")
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    apt = [
        *sudo,
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "-q",
        "-o=Dpkg::Use-Pty=0",
        "-o=DPkg::Lock::Timeout=300",
    ]
    log = CACHE / "apt.log"
    CACHE.mkdir(exist_ok=True)
    with log.open("a") as lines:
        fcntl.flock(
            lines, fcntl.LOCK_EX
        )  # two images are built at once, and an update of apt's lists waits for no other
        try:
            run(*apt, "update", stdout=lines, stderr=lines)
            run(*apt, "install", "--yes", "--no-install-recommends", *packages, stdout=lines, stderr=lines)
        except Failed as error:
            tail = "\n".join(log.read_text().splitlines()[-15:])
            raise Failed(f"{error}\n{tail}\n(all of it: {log})") from error


def become_root(variables: tuple[str, ...]) -> None:
    """Start the same command again with sudo. What it leaves in .cache is given back at the end (`give_back`)."""
    if os.geteuid() == 0:
        return
    if not shutil.which("sudo"):
        raise Failed("Containers whose PID 1 is systemd need root. Run this as root, or install sudo.")
    say("Containers whose PID 1 is systemd need root: going on with sudo.")
    kept = [f"{name}={os.environ[name]}" for name in (*variables, "PATH", "HOME") if name in os.environ]
    sys.stdout.flush()
    os.execvp("sudo", ["sudo", "env", *kept, sys.executable, str(ROOT / "dev"), *sys.argv[1:]])


def give_back() -> None:
    """After sudo: the files in .cache belong to the person again, or later commands could not write there."""
    user, group = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
    if os.geteuid() == 0 and user and CACHE.exists() and ROOT.stat().st_uid == int(user):
        succeeds("chown", "-Rh", f"{user}:{group}", CACHE)
