# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Finds out which packages an app needs, in whatever form its source says it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import tomllib

from ..module_utils.release.requirement_lines import FOLDERS, SOURCE, with_origin
from . import requirement_files
from .hashes import REQUIRE
from .pack import Entry, PackError, entry_from_file
from .requirement_files import Reader, Refused

_WRITE = "Write a requirements.txt next to it and deploy again:"
#: Files that no installer reads as requirements, and what writes a requirements.txt in their place.
_CONVERT = {
    "uv.lock": "uv export --frozen --no-dev --no-emit-project --output-file requirements.txt",
    "poetry.lock": "poetry export --output requirements.txt",
    "pdm.lock": "pdm export --prod --output requirements.txt",
    "Pipfile.lock": "pipenv requirements > requirements.txt",
    "Pipfile": "pipenv lock && pipenv requirements > requirements.txt",
    "environment.yml": "pip list --format=freeze > requirements.txt",
    "environment.yaml": "pip list --format=freeze > requirements.txt",
}
_ALL_OF_IT = "requirements/app.txt"
_FOLDERS = f"requirements/{FOLDERS}"
_CONSTRAINTS = "requirements/constraints.txt"


@dataclass(frozen=True)
class Needs:
    """The requirement files of a release, the first two of which an installer is given, and where they come from."""

    entries: list[Entry]
    paths: list[str]
    read: list[str]


def to_build(requirements: Path, source: Path) -> list[str]:
    """The packages that the builds of projects in the source need, for hosts that get wheels from nowhere else.

    :param requirements: the requirement file that names the projects
    """
    found = []
    for line in requirements.read_text(encoding="utf-8").splitlines():
        relative = re.match(rf"(?:\S+ @ file://)?{re.escape(SOURCE)}/?([^\[ ]*)", line)[1]
        project = source / relative / "pyproject.toml"
        system = _toml(project).get("build-system", {}) if project.is_file() else {}
        found += system.get("requires", ["setuptools", "wheel"])
    return sorted(set(found))


def of(
    source: Path | None,
    given: list[str],
    packed: Iterable[str],
    scratch: Path,
    packages: bool = False,
    require_hashes: bool = False,
) -> Needs:
    """What an app needs.

    :param source: directory of the source, or None
    :param given: requirement files that the user names; the source's own when there are none
    :param packed: paths of the release's source, such as ``src/wsgi.py``
    :param scratch: directory for files that the release gets
    :param packages: whether the user names packages besides, so that a file which nothing reads may be meant for others
    :param require_hashes: whether an installer is to refuse what has no hash
    :raises PackError: for what can only fail
    """
    inside = {path.removeprefix("src/") for path in packed}
    reader = Reader(source, inside.__contains__)
    for path in [_given(source, name) for name in given] or _own(source, inside, packages):
        _read(path, reader)
    if source and not given:
        _add_source(source, reader)
    found = reader.found
    entries, paths = [], []
    first = [REQUIRE] if require_hashes else []
    first += ["-c constraints.txt"] if found.constraints and (found.lines or found.folders) else []
    for name, lines in (
        (_ALL_OF_IT, first + found.lines if found.lines or first else []),
        (_FOLDERS, found.folders),
        (_CONSTRAINTS, found.constraints),
    ):
        if lines:
            file = scratch / name
            file.parent.mkdir(exist_ok=True)
            file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            entries.append(entry_from_file(name, file, scratch))
            paths += [name] if name != _CONSTRAINTS else []
    return Needs(entries, paths, found.read)


def _given(source: Path | None, name: str) -> Path:
    path = Path(name) if os.path.isabs(name) or source is None else source / name
    if not path.is_file():
        raise PackError(f"flask_app_requirements names {name}, and there is no file {path}.")
    return path


def _own(source: Path | None, inside: set[str], packages: bool) -> list[Path]:
    """The file by which a source says what it needs, in a list. A lock comes before what it was made from."""
    locks, others = (
        [name for name in _CONVERT if name.endswith(".lock")],
        [name for name in _CONVERT if "lock" not in name],
    )
    names = ["requirements.txt", *sorted(filter(_is_pylock, inside)), *locks, "pyproject.toml", "setup.py", *others]
    found = [name for name in names if name in inside and not (packages and name in _CONVERT)]
    return [source / found[0]] if source and found else []


def _is_pylock(name: str) -> bool:
    return name.startswith("pylock.") and name.endswith("toml") and "/" not in name


def _read(path: Path, reader: Reader) -> None:
    if path.name in _CONVERT:
        raise Refused(f"{path} is read by neither uv nor pip. {_WRITE} `{_CONVERT[path.name]}`.")
    if path.name == "pyproject.toml":
        _pyproject(path, reader)
    elif _is_pylock(path.name):
        _pylock(path, reader)
    elif path.name in ("setup.py", "setup.cfg"):
        _project(path, reader)
    else:
        for text in requirement_files.strange(path):
            raise Refused(text)
        reader.file(path)


def _toml(path: Path) -> dict:
    try:
        return tomllib.loads(requirement_files.decode(path).replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"{path} cannot be read: {error}. Correct it.") from error


def _pyproject(path: Path, reader: Reader) -> None:
    """A project with a build system is installed; of one without, uv's rule counts: only what it needs is."""
    content = _toml(path)
    project = content.get("project")
    if "build-system" in content or (isinstance(project, dict) and "dependencies" in project.get("dynamic", ())):
        _project(path, reader)
    elif isinstance(project, dict):
        reader.found.read.append(path.name)
        for text in project.get("dependencies", ()):
            reader.line(str(text), path.parent, f"{path}, project.dependencies", f"{path.name}, project.dependencies")
    elif "poetry" in content.get("tool", {}):
        raise Refused(f"{path} is Poetry's, and names no build system. {_WRITE} `{_CONVERT['poetry.lock']}`.")


def _project(path: Path, reader: Reader) -> None:
    reader.found.read.append(path.name)
    reader.line(str(path.parent.absolute()), path.parent, str(path), path.name)


def _pylock(path: Path, reader: Reader) -> None:
    """The packages of a standard lock file (PEP 751), as requirements with hashes."""
    reader.found.read.append(path.name)
    packages = _toml(path).get("packages", [])
    hashed = all(_hashes(package) for package in packages if "version" in package)
    for package in packages:
        name, marker = package.get("name", ""), package.get("marker", "")
        where = f"{path}, package {name}"
        if "extras" in marker or "dependency_groups" in marker:
            raise Refused(f"{where} is for an extra or a group only. Export the lock without extras and groups.")
        if "vcs" in package:
            vcs = package["vcs"]
            text = f"{name} @ {vcs.get('type')}+{vcs.get('url') or vcs.get('path')}@{vcs.get('commit-id')}"
        elif "archive" in package:
            archive = package["archive"]
            text = f"{name} @ {archive.get('url') or archive.get('path')}"
        elif "directory" in package:
            text = f"{name} @ {package['directory'].get('path')}"
        else:
            text = f"{name}=={package.get('version')}"
        text += f" ; {marker}" if marker else ""
        hashes = _hashes(package) if hashed else []
        text += "".join(f" --hash=sha256:{value}" for value in hashes)
        reader.line(text, path.parent, where, f"{path.name}, package {name}")


def _hashes(package: dict) -> list[str]:
    files = [*package.get("wheels", ()), package.get("sdist", {}), package.get("archive", {})]
    return sorted({file["hashes"]["sha256"] for file in files if "sha256" in file.get("hashes", {})})


def _add_source(source: Path, reader: Reader) -> None:
    """Have a source in src layout installed as the package that it is: nothing could import it otherwise."""
    layout = source / "src"
    if not reader.found.read or reader.found.names_source() or not layout.is_dir():
        return
    project = source / "pyproject.toml"
    if project.is_file():
        is_package = "build-system" in _toml(project)
    else:
        is_package = (source / "setup.py").is_file()
    if is_package and any(layout.glob("*/*.py")):
        reader.found.folders.append(with_origin(SOURCE, project.name if project.is_file() else "setup.py"))
        reader.found.read.append("the source itself")
