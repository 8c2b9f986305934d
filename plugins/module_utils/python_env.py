# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Virtual environments: what is in one, and how one is made, by pip or by uv.

Nothing here imports Ansible, so that the functions can be tested and used alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from platform import python_version as version_of_this_python

from ansible_collections.pygun.stack.plugins.module_utils.diagnosis import diagnose

_NAME = re.compile(r"^\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?")


#: Argument spec of the options in plugins/doc_fragments/installer.py.
INSTALLER_OPTIONS = {
    "python": {"type": "path", "default": "/usr/bin/python3"},
    "uv": {"type": "path"},
    "index_url": {"type": "str", "default": "", "no_log": True},
    "ca_bundle": {"type": "str", "default": ""},
    "extra_args": {"type": "list", "elements": "str", "default": []},
    "wheelhouse": {"type": "str", "default": ""},
    "cache_dir": {"type": "str", "default": ""},
}


class InstallError(Exception):
    """An installer ended with an error; the message holds the last lines it wrote. ``cause`` and ``remedy``, if known, are for people."""

    def __init__(self, message, cause=None, remedy=None):
        super().__init__(message)
        self.cause = cause
        self.remedy = remedy


class MissingWheel(InstallError):
    """The wheelhouse lacks something."""

    def __init__(self, message, cause):
        super().__init__(
            message,
            cause,
            "On the control node, with the inventory and the variables of this run: `ansible-playbook"
            " pygun.stack.wheelhouse`. It adds what is missing to python_wheelhouse. Then run this again.",
        )


def explained(error):
    """What is known of why an installation failed, with ``cause`` and ``remedy``; None when nothing is."""
    return error if getattr(error, "cause", None) else diagnose(str(error), "installer")


def normalize(name):
    """The form of a distribution's name in which two spellings of it are equal (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_name(requirement):
    """The normalized name in a requirement such as ``Flask[async]>=3``, or None when it starts with none (a URL, an option)."""
    match = _NAME.match(requirement)
    if match is None or "://" in requirement.split("@")[0]:
        return None
    return normalize(match.group(1))


def pinned_version(requirement):
    """The version in ``name==version``, or None when the requirement leaves a choice."""
    match = re.search(r"==\s*([^\s,;*]+)\s*(?:;.*)?$", requirement)
    return match.group(1) if match else None


def python_version(interpreter):
    """Version of an interpreter, such as ``3.11.2``; None when it cannot be run."""
    if os.access(interpreter, os.X_OK) and os.path.realpath(interpreter) == os.path.realpath(sys.executable):
        return version_of_this_python()  # no process has to be started
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            [interpreter, "-IS", "-c", "import platform; print(platform.python_version())"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def site_packages(path):
    """The site-packages directory of the virtual environment at ``path``, in a list; empty when there is none."""
    return [str(found) for found in Path(path).glob("lib/python3.*/site-packages")]


def installed(path):
    """Names and versions of the distributions in the virtual environment at ``path``; empty when there is none."""
    found = {}
    for info in Path(path).glob("lib/python3.*/site-packages/*.dist-info"):
        name, _dash, version = info.name[: -len(".dist-info")].rpartition("-")
        found[normalize(name)] = version
    return found


def chosen_elsewhere(path, name, besides=()):
    """Whether the version of a distribution in the environment at ``path`` comes from an address, or another one requires it."""
    for info in Path(path).glob("lib/python3.*/site-packages/*.dist-info"):
        own = normalize(info.name[: -len(".dist-info")].rpartition("-")[0])
        if own == name and (info / "direct_url.json").is_file():
            return True
        if own not in (name, *besides) and (info / "METADATA").is_file():
            text = (info / "METADATA").read_text(encoding="utf-8", errors="replace")
            if name in map(requirement_name, re.findall(r"^Requires-Dist: (.*)", text, re.MULTILINE)):
                return True
    return False


def made_from(path):
    """The Python version that the virtual environment at ``path`` was made from, or None when there is no usable one."""
    root = Path(path)
    if not os.access(root / "bin" / "python", os.X_OK):  # also when the interpreter behind the link is gone
        return None
    try:
        text = (root / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"^version(?:_info)?\s*=\s*(\S+)", text, re.MULTILINE)
    return match.group(1) if match else None


def same_minor(one, other):
    """Whether two Python versions may share installed packages (3.11.2 and 3.11.9 may)."""
    return bool(one and other) and one.split(".")[:2] == other.split(".")[:2]


def usable(path):
    """Whether the virtual environment at ``path`` runs, and on the Python that its packages were installed for.

    An upgrade of the distribution leaves environments whose interpreter is gone, or has become another.
    """
    python, made = os.path.join(path, "bin", "python"), made_from(path)
    if not os.access(python, os.X_OK):
        return False
    return made is None or same_minor(made, python_version(python))


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
    """Whether the virtual environment at ``path`` has to be made anew to be one of this Python version."""
    return not (usable(path) and same_minor(made_from(path), python))


def missing(path, requirements, python):
    """The requirements that have to be installed; all, if the environment has to be made anew."""
    return list(requirements) if outdated(path, python) else lacking(path, requirements)


class Installer:
    """Makes virtual environments and installs into them.

    :param uv: path of uv, or None for the interpreter's own venv and pip
    :param index_url: the package index; it may hold a password, so it travels in the environment only
    :param ca_bundle: file with the certificates to trust
    :param extra_args: further arguments for ``pip install`` or ``uv pip install``
    :param wheelhouse: directory that replaces every index
    :param cache_dir: uv's cache
    """

    def __init__(
        self, uv=None, index_url=None, ca_bundle=None, extra_args=(), wheelhouse=None, cache_dir=None, timeout=1800
    ):
        self.uv = uv
        self.extra_args = list(extra_args)
        self.wheelhouse = wheelhouse
        self.timeout = timeout
        environment = {
            key: value
            for key, value in os.environ.items()
            # COLUMNS: uv would wrap its messages, and the causes in them would not be recognised.
            if not key.startswith(("PIP_", "UV_", "PYTHON", "VIRTUAL_ENV")) and key not in ("COLUMNS", "FORCE_COLOR")
        }
        environment.update(
            LC_ALL="C.UTF-8",
            PIP_DISABLE_PIP_VERSION_CHECK="1",
            PIP_NO_INPUT="1",
            PIP_ROOT_USER_ACTION="ignore",
            UV_NO_PROGRESS="1",
            UV_PYTHON_DOWNLOADS="never",
        )
        if ca_bundle:
            environment.update(SSL_CERT_FILE=ca_bundle, PIP_CERT=ca_bundle)
        if index_url and not wheelhouse:
            environment.update(UV_DEFAULT_INDEX=index_url, PIP_INDEX_URL=index_url)
        if cache_dir:
            environment.update(UV_CACHE_DIR=os.path.join(cache_dir, "uv"), PIP_CACHE_DIR=os.path.join(cache_dir, "pip"))
        self.environment = environment

    @classmethod
    def from_options(cls, params):
        """The installer that a module's parameters ask for (INSTALLER_OPTIONS)."""
        return cls(**{name: params[name] for name in INSTALLER_OPTIONS if name != "python"})

    def create(self, path, python):
        """Make an empty virtual environment at ``path``, in place of whatever stands there."""
        shutil.rmtree(path, ignore_errors=True)
        if self.uv:
            self._run([self.uv, "venv", "--no-project", "--no-config", "--python", python, path])
        else:
            self._run([python, "-I", "-m", "venv", path])

    def install(self, path, arguments):
        """Install into the virtual environment at ``path`` what ``arguments`` name (requirements, ``-r`` and ``-c`` options)."""
        python = os.path.join(path, "bin", "python")
        if self.uv:
            command = [self.uv, "pip", "install", "--no-config", "--compile-bytecode", "--python", python]
        else:
            command = [python, "-I", "-m", "pip", "install"]
        if self.wheelhouse:
            command += ["--no-index", "--find-links", self.wheelhouse]
        try:
            self._run(command + self.extra_args + list(arguments))
        except InstallError as error:
            text = str(error)
            if not self.uv and "from versions: none" in text:
                text += f"\n{self._why_pip_finds_nothing(command, arguments)}"
            if self.wheelhouse and (lacks := _not_in_wheelhouse(str(error))):
                cause = f"The wheelhouse has no {lacks} for Python {python_version(python)} on {platform()}."
                raise MissingWheel(text, cause) from error
            raise InstallError(text) from error
        # uv leaves its lock file open to every user, but an app must not write into its release.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(path, ".lock"))

    def _why_pip_finds_nothing(self, command, arguments):
        """pip says of an index that refuses, or has no wheel for this host, the same as of a package that does not exist.

        Only its debugging output tells them apart, so it is asked again.
        """
        if "--no-index" in command + self.extra_args:
            return "pip was told to use no index."
        try:
            done = self._try([*command, *self.extra_args, "-vv", "--retries", "0", *arguments])
        except InstallError:
            return ""
        telling = re.compile(r"\s*(Could not fetch URL .*|Skipping link: none of the wheel's tags .*)")
        found = [telling.match(line) for line in (done.stderr + done.stdout).splitlines()]
        return _last_lines("\n".join(dict.fromkeys(match.group(1) for match in found if match)), 5)

    def _run(self, command):
        done = self._try(command)
        if done.returncode:
            raise InstallError(_last_lines(done.stderr + done.stdout))

    def _try(self, command):
        try:
            return subprocess.run(  # pylint: disable=ansible-bad-function
                command,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                timeout=self.timeout,
                cwd="/",
            )
        except subprocess.TimeoutExpired as error:
            raise InstallError(f"{command[0]} did not end within {self.timeout} s") from error
        except OSError as error:
            raise InstallError(f"{command[0]} cannot be run: {error.strerror}") from error


def platform():
    """The platform tag of the newest wheels that this host takes, such as ``manylinux_2_36_x86_64``."""
    try:
        version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()[1].split(".")
    except (OSError, ValueError, IndexError):
        return f"linux_{os.uname().machine}"
    return f"manylinux_{version[0]}_{version[1]}_{os.uname().machine}"


#: How uv and pip say that no wheel of what they were given will do.
_LACKING = (
    r"was not found in the provided package locations and (?:you require|\S+ depends on) ([^\s,]+)",
    r"(\S+) was not found in the provided package locations",
    r"No matching distribution found for ([^\s(]+)",
    r"(\S+) has no wheels with a matching",
    r"there is no version of ([^\s,]+)",
    r"only [^\n]* (?:is|are) available[^\n]*? (?:require|depends on) ([^\s,]+)",
)


def _not_in_wheelhouse(text):
    """What an installer did not find, as it was required; None when something else went wrong."""
    for pattern in _LACKING:
        found = re.search(pattern, " ".join(text.split()))
        if found:
            return found.group(1).rstrip(",.")
    return None


def _last_lines(text, count=25):
    lines = [re.sub(r"(://)[^/@\s]+@", r"\1***@", line) for line in text.strip().splitlines()]
    return "\n".join(lines[-count:])
