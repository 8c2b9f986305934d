"""Prints what stands on a host, as JSON: releases with a fingerprint of all their files, and the running processes."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path


def fingerprint(folder: Path) -> str:
    """Of every name, kind, time of change and content in a folder (compiled files come and go)."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if "__pycache__" in path.parts:
            continue
        status = path.lstat()
        found.update(f"{path} {status.st_mode} {status.st_uid} {status.st_mtime_ns}".encode())
        found.update(
            str(path.readlink()).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        )
    return found.hexdigest()


def content(folder: Path) -> str:
    """Of the files alone, the same on every host."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        found.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return found.hexdigest()


def pids(app: str) -> list[int]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path("/proc", pid, "cmdline").read_text()
        except OSError:
            continue
        if f"/srv/{app}/" in command and "gunicorn" in command:
            found.append(int(pid))
    return sorted(found)


report = {}
for root in sorted(path for path in Path("/srv").iterdir() if (path / "releases").is_dir()):
    report[root.name] = {
        "current": (root / "current").resolve().name,
        "releases": {release.name: fingerprint(release) for release in sorted((root / "releases").iterdir())},
        "source": content((root / "current" / "src").resolve()),
        "pids": pids(root.name),
    }
print(json.dumps(report, sort_keys=True))
