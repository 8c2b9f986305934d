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
from . import requirement_names
from .text import shown

try:
    from packaging import requirements
    from packaging import version as versions
except ImportError:  # ansible-core brings it; its sanity tests import plugins without
    requirements = versions = None

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
#: A page of such a forge that shows a folder or a file: what comes before it, its kind, branch or tag, and path.
_PAGE = re.compile(
    r"((?:git\+)?https?://(?:(?:[^/@\s]*@)?(?:github\.com|bitbucket\.org|codeberg\.org)/[^/\s]+/[^/\s]+|[^\s#?]+(?=/-/)))"
    r"/(?:-/)?(tree|blob|src)/(?:(?:branch|tag|commit)/)?([^/\s#?]+)/?([^\s#?]*)"
)
#: A repository as scp writes it, which is no address.
SCP = re.compile(r"(?:git\+)?([\w.-]+@[\w.-]+):(?!\d+/|//)(\S+)")
_COMMAND = re.compile(
    r"(?:[$!%]\s*|sudo\s+|RUN\s+)*(?:python[\d.]*\s+-m\s+)?(?:(?:pip[\d.]*|apt(?:-get)?|conda|mamba|brew|uv|poetry)\s+\w|git\s+clone\b)"
)
_NO_PACKAGE = (".egg", ".exe", ".msi", ".rpm", ".deb", ".dmg", ".pkg", ".apk")
#: The options that a requirement file can hold, for pip and for uv.
_OPTIONS = set(
    "-i --index-url --pypi-url --extra-index-url --no-index -f --find-links --no-binary --only-binary --prefer-binary --require-hashes --pre"
    " --trusted-host --use-feature -r --requirement --requirements -c --constraint --constraints -e --editable".split()
)
#: Those that stand behind a requirement.
_OF_REQUIREMENT = {"--hash", "--config-settings", "--config-setting", "--global-option"}
#: A variable of the environment as installers put it in, and as a shell would.
EXPANDED = re.compile(r"\$\{([A-Z0-9_]+)\}")
VARIABLE = re.compile(r"\$(?:\{(?=\w+\}))?(\w+)\}?")
_INDEX = re.compile(r"(?:-i|--index-url|--extra-index-url)(?:\s*=\s*|\s+)(\S+)")


def of_address(address: str) -> str:
    """What is wrong with an address."""
    plain = address.split("#")[0]
    if _CONDA_PACKAGE.fullmatch(address):
        return f" names {shown(address)}, a package of Conda. {_OF_CONDA}"
    scp = SCP.fullmatch(address)
    if scp:
        return f" names {shown(address)}, which pip and uv take for no address. Write git+ssh://{scp[1]}/{scp[2]}."
    if plain.startswith("git://"):
        return f" names {shown(address)}, for which pip and uv have no transport. Write git+https://{masked(address).removeprefix('git://')}."
    page = _PAGE.match(masked(address))
    if page:
        begin, kind, ref, path = page.groups()
        place = f"#subdirectory={path}" if path else ""
        better = f"git+{begin.removeprefix('git+')}@{ref}{place}" if kind != "blob" else "/raw/ in place of /blob/"
        return f" names {shown(address)}, a page for people. Write {better}."
    if plain.lower().endswith(_NO_PACKAGE) and "/" in plain:
        return f" names {shown(address)}, which pip and uv do not install. Write NAME==VERSION, or name a wheel (.whl)."
    if re.match(r"(?!https?:|file:)[a-z][a-z0-9.-]*://", plain):
        return f" names {shown(address)}, for which pip and uv have no transport. Write an address with https://, or a path in the source."
    path = urllib.parse.urlsplit(plain).path
    if re.match(r"https?://", plain) and (_FORGE.fullmatch(plain) or path.endswith(".git")):
        return f" names {shown(address)}, the page of a repository. Write git+{masked(address)}, with @ and a tag or a commit."
    return ""


def of_repository(address: str) -> str:
    """What is wrong with the address of a repository in a requirement file, which goes to other machines."""
    if not re.match(r"\w+\+(?:file:|[./~])", address):
        return ""
    return f" names {shown(address)}, a repository on the machine that wrote it. Write git+https://HOST/PATH.git, with @ and a tag or a commit."


def of_command(text: str) -> str:
    """What is wrong with a line that is a command of a shell, a notebook or an image."""
    if _COMMAND.match(text):
        return f" is {shown(text)}, which is no requirement but a command. Write NAME or NAME==VERSION of what it installs."
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
    why = requirement_names.refusal(name, text) if ";" not in text and not constraint else ""
    if why:
        return f" is {shown(text)}{why}"
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
    option = re.split(r"[=\s]", text)[0]
    if option == "--hash":
        return " begins with --hash, which belongs to the requirement before it. End that line with \\."
    if option not in _OPTIONS and option[:2] not in ("-i", "-f", "-r", "-c", "-e"):
        return (
            f" has {option}, which no requirement file can hold. Take it out; python_extra_args has options for every installation of the host,"
            " and flask_app_upgrade takes newer versions."
        )
    return ""


def remedy_for_variable(text: str) -> str:
    """What to write in place of a line that names a variable of the environment, of which no installer on a host knows."""
    if text.startswith("-"):
        return "Write its value; an index with a password belongs into python_index_url."
    login = re.search(r"://([^/@\s]*)@", text)
    plain = not login or re.fullmatch(r"[a-z0-9_-]*:?", VARIABLE.sub("", login[1]))
    example = (
        VARIABLE.sub(lambda match: f"{{{{ {match[1].lower()} }}}}", text)
        if plain
        else "NAME @ git+https://{{ token }}@HOST/PATH.git"
    )
    return f"Take the line out, and name the package in flask_app_packages, where Ansible puts values in, from a vault too: '{example}'."


def of_options(text: str) -> str:
    """What is wrong with the options behind a requirement."""
    for option in re.findall(r"(?<!\S)--?[A-Za-z-]+", text):
        if option not in _OF_REQUIREMENT:
            may = option in _OPTIONS
            return f" has {option} behind a requirement. Write it on a line of its own." if may else of_option(option)
    return ""


def of_form(text: str) -> str:
    """What is wrong with a line that has the form of no requirement, if that is known."""
    entry = re.sub(r"^(?:[*\u2022]|\d+[.)])\s+", "", text).strip("\"'`, ")
    if entry != text.rstrip(",") and of_syntax(entry) == "":
        return f"an entry of a list. Write {entry}."
    channel = re.fullmatch(r"[\w.-]+::([\w.-]+)", text)
    if channel:
        return f"a package of a channel of Conda. Write {channel[1]}."
    operator = re.fullmatch(r"([\w.-]+(?:\[[^\]]*\])?)\s*(=>|=<|~>|\^|!)\s*(\d\S*)", text)
    if operator:
        right = {"=>": ">=", "=<": "<=", "~>": "~=", "^": ">=", "!": "!="}[operator[2]]
        return f"and {operator[2]} is no comparison of versions. Write {operator[1]}{right}{operator[3]}."
    if re.fullmatch(r"Package\s+Version(\s.*)?", text):
        return "the output of `pip list`. Write the file with `pip freeze`."
    if re.fullmatch(r"[\w.\[\]-]+(?:\s*,\s*[\w.\[\]-]+)+", text):
        return "which seems to be several. Write each on a line of its own."
    return "which is no requirement. Write NAME or NAME==VERSION, such as flask==3.1.2."


def of_version_as_address(name: str, address: str) -> str:
    """What is wrong with a version behind @, as other languages write it."""
    if not re.fullmatch(r"v?\d[\w.]*|latest", address):
        return ""
    better = name if address == "latest" else f"{name}=={address.removeprefix('v')}"
    return f" is {shown(f'{name}@{address}')}, and an address belongs behind @. Write {better}."


def of_line_end(line: str, following: str) -> str:
    """What is wrong with the end of a line that seems to go on, in the file as it is."""
    comment = re.search(r"\S.*\s#.*\\$", line)
    if comment and not line.lstrip().startswith("#") and following.strip() and not following.lstrip().startswith("#"):
        return f" ends its comment with \\, so that pip takes the next line ({shown(following.strip())}) for a part of the comment. Remove the \\."
    if re.search(r"\\[ \t]+$", line) and not re.search(r"(^|\s)#", line):
        return " has a space behind the \\ at its end, so that it does not go on in the next line. Remove the space."
    return ""


def of_syntax(text: str) -> str:
    """What is wrong with a requirement, by the rules that all installers follow (PEP 440, PEP 508)."""
    if requirements is None:
        return ""
    try:
        requirements.Requirement(text)
        return ""
    except requirements.InvalidRequirement as error:
        return f" is {shown(text)}, which is no requirement: {_remedy(text, str(error))}"


def _is_version(text: str) -> bool:
    try:
        versions.Version(text)
    except versions.InvalidVersion:
        return False
    return True


def _remedy(text: str, error: str) -> str:
    name = requirement_name(text)
    if text.endswith(";"):
        return "it ends with a semicolon. Take that out."
    if re.search(r"[^\s#]#", text):
        return "a comment begins with a space and #. Write a space before it."
    local = re.search(r"((?:~=|[<>]=?)\s*[\w.!]+)\+[\w.]+", text.partition(";")[0])
    if local:
        return f"a version with + goes with == only. Write {text.replace(local[0], local[1])}."
    short = re.search(r"~=\s*(\d+)\s*(?:[,;]|$)", text)
    if short:
        return f"~= needs two numbers. Write {name}~={short[1]}.0, or {name}>={short[1]}."
    together = re.sub(r"(?<=[<>=])(\s*\d\S*)\s+(?=[<>=!~]=?\s*\d)", r"\1,", text)
    if together != text and of_syntax(together) == "":
        return f"a comma stands between two comparisons. Write {together}."
    wild = re.search(r"([<>~]=?|===)\s*(\d[\d.]*)\.\*", text)
    if wild:
        return f".* goes with == and != only. Write {wild[1]}{wild[2]}."
    if re.match(r"[\w.\[\],~=!<>*+ -]*?[\w*\]]\s+[A-Za-z]", text) and ";" not in text:
        return "it seems to be two. Write each on a line of its own."
    for number in re.findall(r"(?:===?|[~!<>]=?)\s*([^\s,;)]+)", text.partition(";")[0]):
        if not number.endswith(".*") and not _is_version(number):
            return f"{shown(number)} is no version by the rules of Python (PEP 440). Write one that the index has, such as {name}==1.0."
    marker = text.partition(";")[2]
    if marker and of_syntax(text.partition(";")[0]) == "":
        return (
            f"{shown(marker.strip())} is no marker. Write one such as python_version < '3.12', with the value in quotes, or take it out with"
            " its semicolon."
        )
    return f"{error.splitlines()[0]}. Write NAME or NAME==VERSION, such as flask==3.1.2."


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
