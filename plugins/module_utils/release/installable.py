# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a host can install what requirement files name, as far as their text shows it.

Nothing here imports Ansible, so that the functions can be tested and used alone.
"""

from __future__ import annotations

import os
import re
import shutil

from ..host.build_account import InstallError
from .requirement_lines import LOCKED, lines, notes

_WHEEL = re.compile(r"([^/\s=@]+)-([^-/\s]+)-([^-/\s]+)-([^-/\s]+)\.whl", re.IGNORECASE)
_LEGACY = {"manylinux1": 5, "manylinux2010": 12, "manylinux2014": 17}
_CLAUSE = re.compile(r"(===?|!=|~=|<=|>=|<|>)\s*(\d+(?:\.\d+)*)(\.\*)?")


def check(files, packages, python, platform, uv=True):
    """Refuse requirements that this host cannot install.

    :param files: paths of requirement files
    :param packages: further requirements
    :param python: version of the interpreter, such as ``3.11.2``
    :param platform: newest platform tag that the host takes, such as ``manylinux_2_36_x86_64``
    :param uv: whether uv installs, and not pip
    :raises InstallError: with the line, and what to do
    """
    for where, specifier in (place for file in files for place in notes(file, "requires-python")):
        if not takes_python(specifier, python):
            raise InstallError(
                "the lock is for another Python.",
                f"{where} is for Python {specifier}, and this host installs for Python {python}.",
                "Set python_interpreter to a Python that the lock is for; or change requires-python of the project, and lock again.",
            )
    for where, text in (place for file in files for place in notes(file, "override") if not uv):
        raise InstallError(
            "the lock overrides what packages ask for.",
            f"{where} has the override {text}, which pip cannot follow.",
            "Set flask_app_installer: uv, or take the override out of the project, and lock again.",
        )
    given = [place for file in files for place in lines(file)]
    for where, text in [*given, *(("flask_app_packages", text) for text in packages)]:
        if re.search(r"(^|\s)git\+", text) and not shutil.which("git"):
            raise InstallError(
                "a package of the app's comes from a git repository.",
                f"{where} names a git repository, and this host has no git.",
                "Set flask_app_system_packages: [git]; or name an archive of the commit, such as https://HOST/TEAM/APP/archive/COMMIT.tar.gz.",
            )
        option = re.search(r"\s(--config-settings?|--global-option|-C)\b", text)
        if uv and option:
            raise InstallError(
                "the installer does not take an option of the app's requirements.",
                f"{where} has {option[1]} behind a requirement, which uv does not read.",
                f"Set flask_app_installer: pip, or take the option out: {option[1]} may stand in python_extra_args.",
            )
        if why := wheel_refusal(text, python, platform):
            raise InstallError(
                "a wheel of the app's is for other hosts.",
                f"{where} names {why}, and this host has Python {python} on {platform}.",
                "Name a wheel for it, or NAME==VERSION, so that the installer chooses one.",
            )


def python_refusal(places, python):
    """Why the source is not for the Python of a host, before anything is sent; an empty text if it is.

    :param places: for which versions it is, each after the place that says so
    :param python: version of the interpreter; of two numbers when the last one is not known yet
    """
    possible = [python] if python.count(".") > 1 else [f"{python}.0", f"{python}.99"]
    for where, specifier in places:
        if not any(takes_python(specifier, version) for version in possible):
            return (
                f"{where} is for Python {specifier}, and this host has Python {python} for the app. Name another one of the host's in"
                " flask_app_python, or correct what the source says. Nothing was changed."
            )
    return ""


def environment_for(files):
    """Environment variables of uv, for what it does not read in requirement files.

    A lock with several indexes has hashes, so a package may come from any of them.
    """
    locks = [file for file in files if os.path.basename(file) == LOCKED]
    has_more = any(text.startswith("--extra-index-url") for file in locks for _where, text in lines(file))
    found = {"UV_INDEX_STRATEGY": "unsafe-best-match"} if has_more else {}
    texts = [text for file in files for _where, text in lines(file)]
    hosts = [match[1] for match in map(re.compile(r"--trusted-host[=\s]+(\S+)").match, texts) if match]
    if hosts:
        found["UV_INSECURE_HOST"] = " ".join(hosts)
    if "--pre" in texts:
        found["UV_PRERELEASE"] = "allow"
    return found


def takes_python(specifier, version):
    """Whether a specifier such as ``>=3.9,<3.13`` allows a Python version. A specifier that cannot be read does."""
    have = _numbers(version)
    for operator, text, wildcard in _CLAUSE.findall(specifier):
        want = _numbers(text)
        size = max(len(want), len(have))
        one, other = have + [0] * (size - len(have)), want + [0] * (size - len(want))
        equal = have[: len(want)] == want if wildcard else one == other
        holds = {
            "==": equal,
            "===": equal,
            "!=": not equal,
            ">=": one >= other,
            "<=": one <= other,
            ">": one > other,
            "<": one < other,
            "~=": one >= other and have[: len(want) - 1] == want[:-1],
        }
        if not holds[operator]:
            return False
    return True


def _numbers(version):
    return [int(number) for number in re.match(r"\d+(?:\.\d+)*", version)[0].split(".")]


def wheel_refusal(text, python="", platform=""):
    """The wheel that a requirement names, if it cannot be installed; an empty text otherwise.

    A requirement with a marker may be for other hosts.

    :param python: version of the interpreter; empty when no host is known yet
    :param platform: newest platform tag of the host; empty when no host is known yet
    """
    match = _WHEEL.search(re.split(r"\s;|;\s", text)[0])
    if not match or re.search(r"\s;|;\s", text):
        return ""
    _name, pythons, abi, platforms = (part.lower() for part in match.groups())
    minor = _numbers(python)[1] if python else None
    if any(_takes_tag(tag, abi, minor) for tag in pythons.split(".")) and any(
        _takes_platform(tag, platform) for tag in platforms.split(".")
    ):
        return ""
    return match[0].rpartition("/")[2]


def _takes_tag(tag, abi, minor):
    match = re.fullmatch(r"(py|cp)3(\d*)", tag)
    if not match:
        return False
    if not match[2] or minor is None:
        return True
    if match[1] == "py" or "abi3" in abi:
        return int(match[2]) <= minor
    return int(match[2]) == minor and bool({"none", f"cp3{minor}"} & set(abi.split(".")))


def _takes_platform(tag, platform):
    if tag == "any":
        return True
    match = re.fullmatch(r"(linux|manylinux1|manylinux2010|manylinux2014|manylinux_2_(\d+))_(\w+)", tag)
    if not match:
        return False
    host = re.fullmatch(r"manylinux_2_(\d+)_(\w+)", platform)
    return not host or (match[3] == host[2] and int(match[2] or _LEGACY.get(match[1], 0)) <= int(host[1]))
