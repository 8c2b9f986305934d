# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is in a virtual environment, and whether it can be used: no more than modules need that install nothing.

Nothing here imports Ansible, so that the functions can be tested and used alone.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from platform import python_version as version_of_this_python

from .host import build_account, foreign
from .host.build_account import InstallError
from .resolved import normalize

#: The name that a requirement begins with.
NAME = re.compile(r"^\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?")
_DIST_INFO = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)-([A-Za-z0-9][A-Za-z0-9._+!]*)\.dist-info")
#: More than any environment has in one folder: a package may have made as many as it liked.
_ENTRIES_AT_MOST = 20_000
_READ_AT_MOST = 64 * 1024


def requirement_name(requirement):
    """The normalized name in a requirement such as ``Flask[async]>=3``, or None when it starts with none (a URL, an option)."""
    match = NAME.match(requirement)
    if match is None or "://" in requirement.split("@")[0]:
        return None
    return normalize(match.group(1))


def pinned_version(requirement):
    """The version in ``name==version``, or None when the requirement leaves a choice."""
    match = re.search(r"===?\s*([^\s,;*=]+)\s*(?:;.*)?$", requirement)
    return match.group(1) if match else None


def python_version(interpreter, account=None):
    """Version of an interpreter, such as ``3.11.2``; None when it cannot be run.

    :param account: who runs it, when it may be another program than its name says
    """
    if os.access(interpreter, os.X_OK) and os.path.realpath(interpreter) == os.path.realpath(sys.executable):
        return version_of_this_python()  # no process has to be started
    try:
        code = "import platform; print(platform.python_version())"
        done = build_account.run([interpreter, "-IS", "-c", code], account, {"LC_ALL": "C.UTF-8"}, 60, network=False)
    except (OSError, InstallError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def site_packages(path):
    """The site-packages directory of the virtual environment at ``path``, in a list; empty when there is none.

    One that a link leads to elsewhere is none.
    """
    root = Path(path).resolve()
    return [str(found) for found in root.glob("lib/python3.*/site-packages") if found.resolve() == found]


def installed(path):
    """Names and versions of the distributions in the virtual environment at ``path``; empty when there is none."""
    found = {}
    for packages in site_packages(path):
        with os.scandir(packages) as entries:
            for entry in itertools.islice(entries, _ENTRIES_AT_MOST):
                match = _DIST_INFO.fullmatch(entry.name)
                if match:
                    found[normalize(match.group(1))] = match.group(2)
    return found


def made_from(path):
    """The Python version that the virtual environment at ``path`` was made from, or None when there is no usable one."""
    root = Path(path)
    if not os.access(root / "bin" / "python", os.X_OK):  # also when the interpreter behind the link is gone
        return None
    match = re.search(r"^version(?:_info)?\s*=\s*([\w.+]{1,40})", _small_file(root / "pyvenv.cfg"), re.MULTILINE)
    return match.group(1) if match else None


def _small_file(path):
    """The beginning of a text file, which a package may have replaced by anything; empty if it is no file."""
    try:
        with foreign.opened(path) as stream:
            return stream.read(_READ_AT_MOST).decode("utf-8", "replace")
    except (OSError, foreign.Unreadable):
        return ""


def compile_command(interpreter, folder, without=None):
    """The command that byte-compiles all source in a folder, which no user of it may write to.

    :param without: a pattern; what has it in its path is left out
    """
    command = [interpreter, "-IS", "-m", "compileall", "-q", "-j", "0", folder]
    return [*command, "-x", without] if without else command


def same_minor(one, other):
    """Whether two Python versions may share installed packages (3.11.2 and 3.11.9 may)."""
    return bool(one and other) and one.split(".")[:2] == other.split(".")[:2]


def usable(path):
    """Whether the virtual environment at ``path`` runs, and on the Python that its packages were installed for.

    An upgrade of the distribution leaves environments whose interpreter is gone, or has become another. What the link leads to is
    not run as root: a package may have pointed it elsewhere. A program in the environment itself is none that we have made.
    """
    python, made = os.path.join(path, "bin", "python"), made_from(path)
    interpreter = os.path.realpath(python)
    if not os.access(python, os.X_OK) or interpreter.startswith(f"{os.path.realpath(path)}/"):
        return False
    return made is None or same_minor(made, python_version(interpreter, build_account.nobody()))


def lacking(path, requirements):
    """The requirements that the virtual environment at ``path`` does not meet: absent, or pinned to another version."""
    found = installed(path)
    return [
        requirement
        for requirement in requirements
        if requirement_name(requirement) not in found
        or pinned_version(requirement) not in (None, found[requirement_name(requirement)])
    ]


def outdated(path, python):
    """Whether the virtual environment at ``path`` must be created again for this Python version."""
    return not (usable(path) and same_minor(made_from(path), python))


def missing(path, requirements, python):
    """Return the requirements to install; all, if the environment must be created again."""
    return list(requirements) if outdated(path, python) else lacking(path, requirements)


def ready(environments, python):
    """Those of some environments (each a path with requirements) that need nothing."""
    version = python_version(python) if environments else None
    return [one for one in environments if not missing(one["path"], one["requirements"], version)]


def platform():
    """The platform tag of the newest wheels that this host takes, such as ``manylinux_2_36_x86_64``."""
    try:
        version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()[1].split(".")
    except (OSError, ValueError, IndexError):
        return f"linux_{os.uname().machine}"
    return f"manylinux_{version[0]}_{version[1]}_{os.uname().machine}"
