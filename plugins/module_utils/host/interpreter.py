# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find the interpreter of an app, and say whether apps, which run as users of their own below supervisord, can run it."""

from __future__ import annotations

import glob
import os
import re
import subprocess
import typing as t

from . import inspection
from .app_process import as_ids

_NOBODY = 65534
_TIMEOUT = 20.0
_TRUE = ("true", "yes", "on", "1")
#: Where the interpreters of a host are: the distribution's, those built by hand, and uv's as `refusal` advises to install them.
_PLACES = ("/usr/bin", "/usr/local/bin", "/opt/python/*/bin")
_NAME = re.compile(r"python(3\.\d+)")
#: Ends with a sentence in an interpreter that is older than the runtime and the tools need.
_CHECK_AGE = """
import sys
if sys.version_info < (3, 11):
    sys.exit("it is Python %d.%d, and 3.11 or later is needed" % sys.version_info[:2])
"""


class NoInterpreter(Exception):
    """The host has no interpreter of the wanted version; the message says which it has."""


def choose(wanted: str, default: str) -> str:
    """The path of the interpreter that an app asks for.

    :param wanted: a path, or a version such as ``3.12``; empty takes the default
    :param default: the host's own (``python_interpreter``); it wins if it is of that version
    :raises NoInterpreter: when the host has none of that version
    """
    if not wanted or wanted.startswith("/"):
        return wanted or default
    found = _found(default)
    for version, path in found:
        if version == wanted:
            return path
    listed = ", ".join(f"{version} ({path})" for version, path in found) or "none"
    raise NoInterpreter(
        f"flask_app_python is {wanted}, and this host has no such Python. It has: {listed}. Take one of these; or install"
        f" another, as with flask_app_system_packages: [python{wanted}, python{wanted}-venv] where the distribution has these"
        f" packages, or with `UV_PYTHON_INSTALL_DIR=/opt/python uv python install {wanted}`; or write the path of one that"
        " is elsewhere. Nothing was changed."
    )


def _found(default: str) -> list[tuple[str, str]]:
    """Versions and paths of the host's interpreters, the default first, one for each version."""
    found = {}
    paths = [path for place in _PLACES for path in sorted(glob.glob(f"{place}/python3.*"))]
    for path in (default, *paths):
        name = _NAME.fullmatch(os.path.basename(os.path.realpath(path) if path == default else path))
        if name and os.access(path, os.X_OK):
            found.setdefault(name.group(1), path)
    return sorted(found.items(), key=lambda entry: (entry[1] != default, int(entry[0].partition(".")[2])))


def refusal_of_app(wanted: str, default: str, sandbox: t.Mapping[str, t.Any], lacking: t.Collection[str]) -> str:
    """The reason why an app cannot have its interpreter, and what to do; empty if it can.

    :param lacking: packages of the distribution that are still to be installed; one of them may bring the interpreter
    """
    try:
        python = choose(wanted, default)
    except NoInterpreter as error:
        return "" if any(name.startswith(f"python{wanted}") for name in lacking) else str(error)
    if os.path.exists(python):
        return refusal(python, sandbox, "flask_app_python")
    if any(name.startswith("python") for name in lacking):
        return ""
    return (
        f"flask_app_python is {python}, and this host has no such file. Correct it, or install it. Nothing was changed."
    )


def refusal(python: str, sandbox: t.Mapping[str, t.Any], variable: str = "python_interpreter") -> str:
    """The reason why apps cannot run this interpreter, and what to do; empty if they can, or if it is not installed yet.

    :param sandbox: options of supervisord's unit
    :param variable: the one that names it
    """
    if not os.path.exists(python):
        return ""
    real = os.path.realpath(python)
    where = real if real == python else f"{python} (which is {real})"
    why = _hidden(real, sandbox) or _closed(python, real)
    if not why:
        return ""
    return (
        f"{variable} is {where}, and apps cannot run it: {why}. Take one that every user reaches, such as /usr/bin/python3;"
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
    """The reason why an unprivileged user cannot run it. It is tried, since file modes alone do not decide it."""
    if os.geteuid() != 0:
        return ""
    try:
        ended = subprocess.run(  # pylint: disable=ansible-bad-function
            [*as_ids(_NOBODY, _NOBODY, [_NOBODY]), python, "-I", "-c", _CHECK_AGE],
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
    if not why or why.startswith("it is Python"):
        return why
    for place in _parents(real):
        if not os.stat(place).st_mode & 0o001:
            return f"their users may not enter {place} ({inspection.describe_mode(place)})"
    return f"it fails for users other than root: {why}"


def _parents(path: str) -> list[str]:
    parts = path.split("/")[1:-1]
    return ["/" + "/".join(parts[: number + 1]) for number in range(len(parts))]
