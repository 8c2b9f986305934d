# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find the file of a source that names its packages, and read it."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import tomllib

from ..module_utils.host.logins import masked
from ..module_utils.release.requirement_lines import CONSTRAINTS, FOLDERS, LOCKED, SOURCE, logical, with_origin
from ..module_utils.resolved import normalize
from . import locks, own_metadata, project_file, project_needs, requirement_files, unread_needs
from .hashes import REQUIRE
from .locks.wanted import Wanted
from .pack import Entry, PackError, entry_from_file
from .requirement_files import Reader, Refused

_WRITE = "Write a requirements.txt next to it and deploy again:"
#: Files that no installer reads as requirements, each with the command that converts it to a requirements.txt.
_CONVERT = {
    "Pipfile": "pipenv lock && pipenv requirements > requirements.txt",
}
_ALL_OF_IT = "requirements/app.txt"
_LOCKED = f"requirements/{LOCKED}"
_FOLDERS = f"requirements/{FOLDERS}"
_CONSTRAINTS = f"requirements/{CONSTRAINTS}"


@dataclass(frozen=True)
class Needs:
    """The requirement files of a release, the first two of which an installer is given, and where they come from."""

    entries: list[Entry]
    paths: list[str]
    read: list[str]
    #: Sentences on what names packages or an index and is not read.
    unread: list[str] = field(default_factory=list)
    #: For which versions of Python the files are, each after its place.
    pythons: list[tuple[str, str]] = field(default_factory=list)
    #: Whether they are those of a lock.
    locked: bool = False

    def notes(self) -> list[str]:
        """Sentences on the files that were read."""
        none = "" if self.paths or self.locked else ": none"
        read = [f"Packages are those of {', '.join(self.read)}{none}."] if self.read else []
        return [*read, *self.unread]


def to_build(requirements: Path, source: Path) -> list[str]:
    """The packages that the builds of projects in the source need, for hosts that get wheels from nowhere else.

    :param requirements: the requirement file that names the projects
    """
    found = []
    for line in requirements.read_text(encoding="utf-8").splitlines():
        match = re.match(rf"(?:\S+ @ file://)?{re.escape(SOURCE)}/?([^\[ ]*)", line)
        if not match:  # a repository, of which nobody knows
            continue
        project = source / match[1] / "pyproject.toml"
        system = toml(project).get("build-system", {}) if project.is_file() else {}
        found += system.get("requires", ["setuptools", "wheel"])
    return sorted(set(found))


def of(
    source: Path | None,
    given: list[str],
    packed: Iterable[str],
    scratch: Path,
    packages: bool = False,
    extras: Iterable[str] = (),
    require_hashes: bool = False,
) -> Needs:
    """Find the requirements of an app.

    :param source: directory of the source, or None
    :param given: requirement files that the user names; the source's own when there are none
    :param packed: paths of the release's source, such as ``src/wsgi.py``
    :param scratch: directory for files that the release gets
    :param packages: whether the user names packages besides, so that a file which nothing reads may be meant for others
    :param extras: extras and dependency groups that are wanted
    :param require_hashes: whether an installer refuses packages without a hash
    :raises PackError: for requirements that can only fail
    """
    inside = {path.removeprefix("src/") for path in packed}
    reader = Reader(source, inside.__contains__)
    wanted = Wanted(extras)
    read, unread = [_given(source, name) for name in given], ""
    if not given:
        read, unread = _own(source, inside, packages)
    for path in read:
        _read(path, reader, wanted)
    if given and not reader.found.locked:
        unread = project_needs.lock_beside(read)
    wanted.refuse_unknown([path.name for path in read])
    if source and not given:
        _refuse_unread(source, inside, reader, packages)
        _add_source(source, inside, reader)
    found = reader.found
    entries, paths = [], []
    first = [REQUIRE] if require_hashes else []
    first += [f"-c {CONSTRAINTS}"] if found.constraints and (found.lines or found.folders) else []
    for name, lines in (
        (_LOCKED if found.locked else _ALL_OF_IT, first + found.lines if found.lines or first else []),
        (_FOLDERS, found.folders),
        (_CONSTRAINTS, found.constraints),
    ):
        if lines:
            file = scratch / name
            file.parent.mkdir(exist_ok=True)
            file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            entries.append(entry_from_file(name, file, scratch))
            paths += [name] if name != _CONSTRAINTS else []
    return Needs(entries, paths, found.read, [*filter(None, [unread]), *found.unread], found.pythons, found.locked)


def asked_for(files: Iterable[Path], packages: Iterable[str]) -> dict[str, str]:
    """A diff with what the app asks for, where no host has resolved it yet.

    :param packages: further requirements
    """
    found = [text for file in files for _number, text in logical(file.read_text(encoding="utf-8"))]
    found = [text for text in found if not text.startswith("-")] + list(packages)
    plain = {re.sub(r"\s+--hash.*", "", masked(text.replace(SOURCE, "."))) for text in found}
    return {
        "before_header": "packages",
        "after_header": "packages asked for (the deploy resolves them, with what they need)",
        "before": "",
        "after": "".join(f"{text}\n" for text in sorted(plain, key=str.lower)),
    }


def _given(source: Path | None, name: str) -> Path:
    path = Path(name) if os.path.isabs(name) or source is None else source / name
    if not path.is_file():
        raise PackError(f"flask_app_requirements names {name}, and there is no file {path}.")
    return path


def _own(source: Path | None, inside: set[str], packages: bool) -> tuple[list[Path], str]:
    """The file that names the packages of a source, in a list, and a sentence on a lock that is not read because of it."""
    # One with a name of its own is for a purpose, such as tests.
    named = [name for name in filter(locks.is_pylock, sorted(inside)) if not unread_needs.is_for_others(name)]
    known = ["pylock.toml", *locks.NAMES, *named, "requirements.lock"]
    names = ["requirements.txt", *known, "pyproject.toml", "setup.py", "requirements.in", *_CONVERT]
    found = [name for name in dict.fromkeys(names) if name in inside and not (packages and name in _CONVERT)]
    if source and "pyproject.toml" in found and not _says_something(toml(source / "pyproject.toml")):
        found.remove("pyproject.toml")
    if source and "setup.py" in found and not project_needs.is_setup(source / "setup.py"):
        found.remove("setup.py")
    if source and found[1:] and found[0] == "requirements.txt" and requirement_files.only_refers(source / found[0]):
        found.remove("requirements.txt")
    if source is None:
        return [], ""
    before = names[: names.index(found[0])] if found else names
    ignored = next((name for name in before if name not in inside and (source / name).is_file()), None)
    if ignored:
        return [source / name for name in found[:1]], (
            f"{ignored} is not read, since it is left out of the release (.gitignore or flask_app_exclude); flask_app_include takes it along."
        )
    if not found:
        return [], ""
    others = [name for name in found[1:] if name in known] if found[0] not in known else []
    unread = (
        f"{others[0]} is not read, since {found[0]} comes first; flask_app_requirements can name it." if others else ""
    )
    return [source / found[0]], unread


def _refuse_unread(source: Path, inside: set[str], reader: Reader, packages: bool) -> None:
    """Refuse a source of which nothing was read, and which says what it needs elsewhere: it would deploy without its packages."""
    path, found = source / "pyproject.toml", reader.found
    project = toml(path) if path.name in inside else {}
    is_read = packages or found.lines or found.folders or set(found.read) - {path.name}
    text = "" if is_read else unread_needs.refusal(source, inside, project)
    if path.name in found.read:
        text = text or unread_needs.missing_file(source, project, inside)
    if text:
        raise Refused(text)


def _says_something(content: dict) -> bool:
    """Whether a pyproject.toml may say what a project needs, and has not only settings of tools."""
    return bool({"project", "build-system", "dependency-groups"} & set(content) or "poetry" in content.get("tool", {}))


def _read(path: Path, reader: Reader, wanted: Wanted) -> None:
    if unread_needs.is_conda(path.name):
        raise Refused(unread_needs.of_conda(path))
    if path.name in _CONVERT:
        raise Refused(f"{path} is read by neither uv nor pip. {_WRITE} `{_CONVERT[path.name]}`.")
    path, root = Path(os.path.abspath(path)), reader.root
    lock = locks.of(path, root if root and path.is_relative_to(root) else path.parent, wanted, toml)
    if lock:
        reader.found.read.append(lock.give(reader, reader.short(lock.path), wanted.used))
    elif path.name == "pyproject.toml":
        _pyproject(path, reader, wanted)
    elif path.name in ("setup.py", "setup.cfg"):
        _project(path, reader, wanted.take_all())
    else:
        for text in requirement_files.strange(path):
            raise Refused(text)
        reader.file(path)


def toml(path: Path) -> dict:
    """The contents of a TOML file, which several readers ask for: it is parsed once."""
    status = path.stat()
    return _parsed(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=64)
def _parsed(path: Path, *_identity: int) -> dict:
    try:
        content = tomllib.loads(requirement_files.decode(path).replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"{path} cannot be read: {error}. Correct it.") from error
    mistake = project_file.mistake(content) if path.name == "pyproject.toml" else ""
    if mistake:
        raise Refused(f"{path}, {mistake}")
    return content


def _pyproject(path: Path, reader: Reader, wanted: Wanted) -> None:
    """A project with a build system is installed; of one without, uv's rule counts: only what it needs is."""
    content = toml(path)
    project = content.get("project", {})
    poetry = content.get("tool", {}).get("poetry", {})
    reader.found.pythons += project_needs.pythons(path, content)
    reader.found.unread += filter(None, [project_needs.unread_index(path, content)])
    known = project.get("optional-dependencies", {})
    extras = wanted.take({**known, **poetry.get("extras", {})})
    groups = content.get("dependency-groups", {})
    defaults = [name for name in project_file.default_groups(content) if not unread_needs.is_for_others(name)]
    names = dict.fromkeys([*wanted.take(groups), *defaults])
    lines = [(f"dependency-groups.{name}", text) for name in names for text in _of_group(path, groups, name)]
    is_unread = project_needs.is_no_package(content) and "dependencies" in project.get("dynamic", ())
    if project_needs.is_built(content):
        project_needs.check(path, content, extras, reader)
        _project(path, reader, extras)
    elif "project" in content and not is_unread:
        reader.found.read.append(path.name)
        lines = [("project.dependencies", text) for text in project.get("dependencies", ())] + lines
        lines += [(f"project.optional-dependencies.{name}", text) for name in extras for text in known.get(name, ())]
        lines = list(project_needs.without_itself(project, lines))
    elif poetry:
        has_lock = path.with_name("poetry.lock").is_file()
        remedy = "Name it in flask_app_requirements" if has_lock else "Write one with `poetry lock`, and deploy again"
        raise Refused(
            f"{path} is Poetry's, names nothing that could be built, and {'its' if has_lock else 'has no'} poetry.lock"
            f" {'was not named' if has_lock else 'next to it'}. {remedy}."
        )
    for place, text in lines:
        project_needs.refuse_source(path, content, text)
        reader.line(str(text), path.parent, f"{path}, {place}", f"{path.name}, {place}")


def _of_group(path: Path, groups: dict, name: str, above: tuple[str, ...] = ()) -> Iterator[str]:
    """The requirements of a dependency group (PEP 735), with those of the groups that it includes."""
    normal = {normalize(other): other for other in groups}
    if normalize(name) not in normal or normalize(name) in above:
        why = "which is not there" if normalize(name) not in normal else "which includes itself"
        raise Refused(f"{path}, dependency-groups includes the group {name}, {why}. Correct it.")
    for item in groups[normal[normalize(name)]]:
        if isinstance(item, dict) and set(item) != {"include-group"}:
            raise Refused(
                f'{path}, dependency-groups.{name} has an entry that is no requirement. Write a text, or {{include-group = "NAME"}}.'
            )
        if isinstance(item, dict):
            yield from _of_group(path, groups, str(item.get("include-group")), (*above, normalize(name)))
        else:
            yield item


def _project(path: Path, reader: Reader, extras: list[str]) -> None:
    reader.found.read.append(path.name)
    reader.project(path.parent, extras, str(path), path.name)


def _add_source(source: Path, inside: set[str], reader: Reader) -> None:
    """Have a source installed as the package that it is, if it does not work otherwise: in src layout, or if it reads its own metadata."""
    if not reader.found.read or reader.found.names_source():
        return
    project = source / "pyproject.toml"
    content = toml(project) if project.is_file() else {}
    setup = source / "setup.py"
    is_package = project_needs.is_built(content) if content else setup.is_file() and project_needs.is_setup(setup)
    if is_package and (any((source / "src").glob("*/**/*.py")) or own_metadata.is_read(source, inside, content)):
        reader.found.folders.append(with_origin(SOURCE, project.name if content else "setup.py"))
        reader.found.read.append("the source itself")
