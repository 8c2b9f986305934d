# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lines of requirement files that look right to a reader, and that no host can install: each with what to write in its place.

A sentence goes on after the place of its line, such as `requirements.txt, line 3`.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable

from ..module_utils.host.logins import masked
from ..module_utils.virtual_env import pinned_version, requirement_name
from .text import shown

_OF_CONDA = (
    "`conda run -n NAME python -m pip list --format=freeze > requirements.txt` writes one that pip and uv read; what is no Python package"
    " belongs into flask_app_system_packages."
)
_CONDA_PACKAGE = re.compile(
    r"https?://\S+?/(?:noarch|linux-\w+|osx-\w+|win-\w+)/[^/\s]+(?:\.conda|-[^-/\s]+-[^-/\s]+\.tar\.bz2)(?:#\S*)?"
)
_FORGE = re.compile(
    r"(?:https?|git)://(?:[^/@\s]*@)?(?:github\.com|gitlab\.com|bitbucket\.org|codeberg\.org)/[^/\s#?]+/[^/\s#?]+/?"
)
_SCP = re.compile(r"git\+([\w.-]+@[\w.-]+):(?!\d+/|//)(\S+)")
#: What pip of Windows writes down, of which there is nothing for Linux.
_WINDOWS = {"pywin32", "pypiwin32", "pywinpty", "windows-curses", "pywin32-postinstall"}
_INDEX = re.compile(r"(?:-i|--index-url|--extra-index-url)(?:\s*=\s*|\s+)(\S+)")


def of_address(address: str) -> str:
    """What is wrong with an address."""
    plain = address.split("#")[0]
    if _CONDA_PACKAGE.fullmatch(address):
        return f" names {shown(address)}, a package of Conda. {_OF_CONDA}"
    scp = _SCP.fullmatch(address)
    if scp:
        return f" names {shown(address)}, which pip and uv take for no address. Write git+ssh://{scp[1]}/{scp[2]}."
    if plain.startswith("git://"):
        return f" names {shown(address)}, for which pip and uv have no transport. Write git+https://{masked(address).removeprefix('git://')}."
    path = urllib.parse.urlsplit(plain).path
    if re.match(r"https?://", plain) and (_FORGE.fullmatch(plain) or path.endswith(".git")):
        return f" names {shown(address)}, the page of a repository. Write git+{masked(address)}, with @ and a tag or a commit."
    return ""


def of_plain(text: str, constraint: bool = False) -> str:
    """What is wrong with a name and its versions.

    :param constraint: whether the line constrains a version only: nothing is installed because of it
    """
    name = requirement_name(text)
    if text == "@EXPLICIT":
        return f" is {text}: the file is a list of packages of Conda. {_OF_CONDA}"
    if name == "python" and not constraint:
        return f" is {shown(text)}, and Python is no package. Take the line out; flask_app_python names the Python of the app."
    if name in _WINDOWS and ";" not in text and not constraint:
        return f" is {shown(text)}, which there is for Windows only. Write {text} ; sys_platform == 'win32'."
    version = pinned_version(text.split(";")[0])
    if version and not re.match(r"v?\d", version):
        return f" is {shown(text)}, and {shown(version)} is no version. Write {name} for the newest one, or {name}==VERSION."
    return ""


def of_option(text: str) -> str:
    """What is wrong with an option."""
    if re.match(r"-+\s", text):
        entry = re.sub(r"^-+\s+", "", text)
        return f" is {shown(text)}, an entry of a list. Write {entry}."
    index = _INDEX.fullmatch(text)
    if index and "://" not in index[1] and not index[1].startswith(("/", ".")):
        return f" names the index {shown(index[1])}, which is no address. Write https://{index[1]}."
    return ""


def of_all(places: Iterable[tuple[str, str]]) -> str:
    """Two lines that no installation can hold both.

    :param places: the lines, each after its place
    """
    seen: dict[str, tuple[str, str]] = {}
    for where, line in places:
        text = re.split(r"\s--", line)[0].strip()
        name, version = requirement_name(text), pinned_version(text)
        if not name or not version or text.startswith("-") or ";" in text or "://" in text:
            continue
        other = seen.setdefault(name, (version, where))
        if _plain(other[0]) != _plain(version):
            return f"{other[1]} names {name}=={other[0]}, and {where} names {text}: there can be only one. Take one of the lines out."
    return ""


def _plain(version: str) -> str:
    """A version in which 3, 3.0, v3.0.0 and 3.0+cpu are equal."""
    return re.sub(r"(\.0+)+$", "", version.lower().removeprefix("v").partition("+")[0])
