# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether apps, which run as users of their own below supervisord, can run an interpreter."""

from __future__ import annotations

import os
import re
import subprocess
import typing as t

from . import inspection

_NOBODY = 65534
_TIMEOUT = 20.0
_TRUE = ("true", "yes", "on", "1")


def refusal(python: str, sandbox: t.Mapping[str, t.Any]) -> str:
    """Why apps cannot run this interpreter, and what to do; empty if they can, or if it is not installed yet.

    :param sandbox: options of supervisord's unit
    """
    if not os.path.exists(python):
        return ""
    real = os.path.realpath(python)
    why = _hidden(real, sandbox) or _closed(python, real)
    if not why:
        return ""
    where = real if real == python else f"{python} (which is {real})"
    return (
        f"python_interpreter is {where}, and apps cannot run it: {why}. Take one that every user reaches, such as /usr/bin/python3;"
        " uv installs others there with `UV_PYTHON_INSTALL_DIR=/opt/python uv python install`. Nothing was changed."
    )


def _hidden(path: str, sandbox: t.Mapping[str, t.Any]) -> str:
    """Which option of systemd.exec keeps this path out of supervisord's sight."""
    home, tmp = (str(sandbox.get(name, "")).lower() for name in ("ProtectHome", "PrivateTmp"))
    hidden = {
        "ProtectHome": ["/home", "/root", "/run/user"] if home in (*_TRUE, "tmpfs") else [],
        "PrivateTmp": ["/tmp", "/var/tmp"] if tmp in (*_TRUE, "disconnected") else [],  # noqa: S108
        **{name: _paths(sandbox.get(name, "")) for name in ("InaccessiblePaths", "TemporaryFileSystem")},
    }
    for option, folders in hidden.items():
        for folder in folders:
            if path == folder or path.startswith(f"{folder.rstrip('/')}/"):
                return f"supervisord's unit hides {folder} from them ({option}={sandbox[option]})"
    return ""


def _paths(value: t.Any) -> list[str]:
    words = value if isinstance(value, list) else str(value).split()
    return [re.sub(r"^[-+]+|:.*", "", str(word)) for word in words]


def _closed(python: str, real: str) -> str:
    """What keeps a user without any right of its own from running it; tried, since no mode tells the whole of it."""
    if os.geteuid() != 0:
        return ""
    try:
        ended = subprocess.run(  # pylint: disable=ansible-bad-function
            [python, "-I", "-c", ""],
            user=_NOBODY,
            group=_NOBODY,
            extra_groups=[],
            cwd="/",
            env={"LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_TIMEOUT,
            check=False,
        )
        said = ended.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"exit code {ended.returncode}"]
        why = said[0] if ended.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        why = str(error)
    if not why:
        return ""
    for place in _parents(real):
        if not os.stat(place).st_mode & 0o001:
            return f"their users may not enter {place} ({inspection.describe_mode(place)})"
    return f"another user than root is told: {why}"


def _parents(path: str) -> list[str]:
    parts = path.split("/")[1:-1]
    return ["/" + "/".join(parts[: number + 1]) for number in range(len(parts))]
