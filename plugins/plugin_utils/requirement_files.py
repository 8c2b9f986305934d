# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read requirement files on the control node, and refuse lines that can only fail on a host.

All files become one, so that a host needs no other file: nested files are read here, and paths are those of the release's source.
A byte order mark and Windows line ends are ignored. Other invisible characters make pip and uv fail, mostly without naming the
character.
"""

from __future__ import annotations

import codecs
import os
import re
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..module_utils.release.installable import wheel_refusal
from ..module_utils.release.requirement_lines import SOURCE, logical, other_file, with_origin
from . import requirement_mistakes
from .pack import PackError
from .text import foreign, shown, unseen

#: The first bytes of a file in one of these encodings. PowerShell writes UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".tar")
_NAMED = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\s*(?:\[[^\]]*\])?)\s*@\s*(\S.*)", re.DOTALL)
_PLAIN = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\s*(?:\[[^\]]*\])?\s*(?:$|;|\(|(?:===?|[~!<>]=|[<>])\s*[^\s=])"
)
_VERSION_CONTROL = re.compile(r"(?:git|hg|svn|bzr)\+")
_EDITABLE = re.compile(r"(?:-e|--editable)(?:\s*=\s*|\s+|(?<=^-e))(\S.*)")
_FIND_LINKS = re.compile(r"(?:-f|--find-links)(?:\s*=\s*|\s+|(?<=^-f))(\S.*)")


def _argument(option: re.Pattern[str], text: str) -> str:
    """The argument of an option in a line, or an empty text."""
    match = option.match(text)
    return re.sub(r"^([\"'])(.*?)\1", r"\2", match[1]).strip() if match else ""


def _options_of(text: str) -> list[str]:
    """The options of a line, which may hold several, each with its argument; a line of another kind as it is."""
    several = text.startswith("-") and not _EDITABLE.match(text)
    return re.split(r"\s+(?=--?[a-z])", text) if several else [text]


class Refused(PackError):
    """A line that can only fail; the message has file, line and remedy."""


def decode(path: Path) -> str:
    """The text of a requirement file, whatever the encoding that its byte order mark names.

    :raises Refused: when it is not UTF-8 and has no mark
    """
    content = path.read_bytes()
    if content.startswith(tuple(mark for mark, _encoding in _MARKS)):
        return decoded(content)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise Refused(f"{path}, line {line} is not UTF-8. Save the file in that encoding.") from error


def only_refers(path: Path) -> bool:
    """Whether a requirement file has nothing but comments. One that is empty says that nothing is needed."""
    text = decode(path)
    return bool(text.strip()) and next(logical(text), None) is None


def decoded(content: bytes) -> str:
    """A text in the encoding that its byte order mark names, or in UTF-8."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, "replace")
    return content.decode(errors="replace")


def strange(path: Path, _read: set[Path] | None = None) -> Iterator[str]:
    """Invisible characters in a requirement file and in those that it names, with file, line, column and code point."""
    read = _read if _read is not None else set()
    if path in read or not path.is_file():
        return
    read.add(path)
    try:
        text = decode(path)
    except Refused as error:
        yield str(error)
        return
    if "\0" in text:
        yield f"{path} has NUL characters: it is UTF-16 without a mark, or no text. Save it as UTF-8."
        return
    physical = [line.rstrip("\r") for line in text.split("\n")]
    for number, line in enumerate(physical, 1):
        for mistake in filter(None, [requirement_mistakes.of_line_end(line, "".join(physical[number : number + 1]))]):
            yield f"{path}, line {number}{mistake}"
        if re.match(r"(<{7}|>{7}) ", line):
            yield f"{path}, line {number} is the mark of a conflict that git has left there. Resolve it."
        # In a comment everything is welcome.
        entry = re.sub(r"(^|\s)#.*", "", line)
        found = unseen(entry, "\t\f")
        lookalike = foreign(entry)
        if found:
            yield f"{path}, line {number}, {found[0].partition(', ')[2]}. Type the line again."
        elif "in place of" in lookalike:
            yield f"{path}, line {number}, {lookalike}. Type the line again."
        other = other_file(entry.strip())
        if other and "://" not in other[1]:
            yield from strange((path.parent / other[1]).resolve(), read)


@dataclass
class Requirements:
    """The lines of requirement files, each with its place.

    ``folders`` are projects in the source, and packages of a lock without a hash: for pip, all lines of a file have hashes, or none.
    """

    lines: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    #: For which versions of Python the files are, each after its place.
    pythons: list[tuple[str, str]] = field(default_factory=list)
    #: Sentences on what is not read.
    unread: list[str] = field(default_factory=list)
    #: Whether a lock file is among them.
    locked: bool = False

    def names_source(self) -> bool:
        """Whether the source itself is asked for."""
        return any(re.match(rf"(\S+ @ file://)?{re.escape(SOURCE)}(\[| |$)", line) for line in self.folders)


class Reader:
    """Reads requirement files of one source.

    :param root: the source, or None when the app has none
    :param is_packed: whether a path relative to the source belongs to the release
    """

    def __init__(self, root: Path | None, is_packed: Callable[[str], bool]) -> None:
        self.root = Path(os.path.abspath(root)) if root else None
        self.is_packed = is_packed
        self.found = Requirements()
        self._read: set[tuple[Path, bool]] = set()

    def file(self, path: Path, constraint: bool = False) -> None:
        """Read a requirement file and those that it names.

        :raises Refused: for a line that can only fail
        """
        path = Path(os.path.abspath(path))
        if (path, constraint) in self._read:
            return
        self._read.add((path, constraint))
        self.found.read.append(self.short(path))
        for number, text in logical(decode(path)):
            self.line(
                text, Path(path.parent), f"{path}, line {number}", f"{self.short(path)}, line {number}", constraint
            )

    def line(self, text: str, folder: Path, where: str, origin: str, constraint: bool = False) -> None:
        """Take one line: ``folder`` is where its file stands, ``where`` what a refusal names, ``origin`` what travels."""
        self._check_variables(text, where)
        options = _options_of(text)
        if len(options) > 1:
            for option in options:
                self.line(option, folder, where, origin, constraint)
            return
        target = self.found.constraints if constraint else self.found.lines
        other = other_file(re.sub(r"file:(?://(?:localhost)?(?=/))?", "", text)) or other_file(text)
        links = _argument(_FIND_LINKS, text)
        editable = _argument(_EDITABLE, text)
        if other and "://" not in other[1]:
            path = folder / other[1]
            if not path.is_file():
                better = "Write / in place of \\" if "\\" in other[1] else "Correct the path, or take the line out"
                raise Refused(f"{where} names {other[1]}, and there is no file {path}. {better}.")
            self.file(path, constraint or other[0].startswith(("-c", "--c")))
        elif links and "://" not in links and not links.startswith("/"):
            found = next((at for at in (folder / links, self._in_root(links)) if at and at.exists()), None)
            target.append(with_origin(f"--find-links {self._placed(found, links, where)}", origin))
        elif text.startswith("-") and not editable:
            self._refuse(where, requirement_mistakes.of_option(text))
            target.append(with_origin(text, origin))
        else:
            self._requirement(editable or text, folder, where, origin, target)

    def _requirement(self, text: str, folder: Path, where: str, origin: str, target: list[str]) -> None:
        self._refuse(where, requirement_mistakes.of_command(text))
        text = re.sub(r"\s-C[\s=]*(?=\S)", " --config-settings=", text)
        text, options = (*re.split(r"\s+(?=--|-[A-Za-z](?:[\s=]|$))", text, maxsplit=1), "")[:2]
        named = None if requirement_mistakes.SCP.match(text) else _NAMED.fullmatch(text)
        name, address = (named[1].strip(), named[2]) if named else ("", text)
        address, separator, marker = self._without_marker(address)
        self._check_address(address, text, where)
        self._refuse(where, requirement_mistakes.of_address(address) or requirement_mistakes.of_repository(address))
        self._refuse(where, requirement_mistakes.of_version_as_address(name, address) if named else "")
        self._refuse(where, requirement_mistakes.of_options(options))
        foreign_wheel = "" if separator else wheel_refusal(address)
        if foreign_wheel:
            raise Refused(
                f"{where} names {foreign_wheel}, a wheel that no host can install: hosts are Linux with glibc and Python 3."
                f" Write {name or 'NAME'}==VERSION, or name a wheel for them."
            )
        tail = f"{' ; ' + marker if separator else ''}{' ' + options if options else ''}"
        if _VERSION_CONTROL.match(address) or ("://" in address and not address.startswith("file:")):
            egg = re.search(r"[#&]egg=([A-Za-z0-9._-]+(?:\[[^\]]*\])?)", address)
            if egg:  # uv takes no name from there; an old form has the version behind it
                name = name or re.sub(r"-\d+(?:\.\w+)+$", "", egg[1])
                address = re.sub(r"#$", "", address.replace(egg[0], "#" if egg[0][0] == "#" else "").replace("#&", "#"))
            self._check_constraint(name, text, where, target)
            target.append(with_origin(f"{name} @ {address}{tail}" if name else f"{address}{tail}", origin))
        elif named or self._is_path(address):
            self._check_constraint(name, text, where, target)
            place, is_folder = self._local(address, folder, where, name)
            line = f"{name} @ file://{place}{tail}" if name else f"{place}{tail}"
            (self.found.folders if is_folder and target is self.found.lines else target).append(
                with_origin(line, origin)
            )
        else:
            self._refuse(where, requirement_mistakes.of_plain(text, target is self.found.constraints))
            self._check_plain(text, where)
            self._refuse(where, requirement_mistakes.of_syntax(text))
            target.append(with_origin(f"{text}{' ' + options if options else ''}", origin))

    def project(self, folder: Path, extras: list[str], where: str, origin: str) -> None:
        """Take a project in the source, whose folder may have any name: it is not read as an address."""
        folder = Path(os.path.abspath(folder))
        tail = f"[{','.join(extras)}]" if extras else ""
        self.found.folders.append(with_origin(f"{self._placed(folder, str(folder), where)}{tail}", origin))

    @staticmethod
    def _without_marker(address: str) -> tuple[str, str, str]:
        separator = re.search(r"\s*;\s+|\s+;", address) if "://" in address else re.search(r"\s*;\s*", address)
        if not separator:
            return address.strip(), "", ""
        return address[: separator.start()].strip(), ";", address[separator.end() :].strip()

    @staticmethod
    def _is_path(text: str) -> bool:
        path = re.sub(r"\[[^\]]*\]$", "", text)
        return (
            path.startswith((".", "/", "~", "file:", SOURCE))
            or path.lower().endswith(_ARCHIVES)
            or bool(re.match(r"[\w.-]+/", path))
        )

    def _local(self, address: str, folder: Path, where: str, name: str) -> tuple[str, bool]:
        """A path in the source as a host finds it, with extras, and whether it is a folder."""
        match = re.fullmatch(r"(.*?)(\[[^\]]*\])?(?:#.*)?", address)
        path, extras = match[1], match[2] or ""
        if path.startswith("file:"):
            path = urllib.parse.unquote(re.sub(r"^file:(//(localhost)?(?=[/$]))?", "", path))
        path = path.replace(SOURCE, str(self.root)) if self.root else path
        candidates = [Path(path)] if path.startswith("/") else [self._in_root(path), folder / path]
        there = [at for at in candidates if at and at.exists()]
        found = next((at for at in there if self.root and Path(os.path.abspath(at)).is_relative_to(self.root)), None)
        found = found or next(iter(there), None)
        own = self._own_tail(path) if found is None else ""
        if own:
            raise Refused(
                f"{where} names {shown(address)}, a path of the machine that wrote it. Write {name + ' @ ' if name else ''}./{own}."
            )
        if found is None and name and address.startswith("file:"):
            raise Refused(
                f"{where} names {shown(address)}, a path of the machine that wrote it (Conda and pip freeze write such lines)."
                f" Write {name}==VERSION; `pip list --format=freeze` prints it."
            )
        place = self._placed(found, path, where)
        if found.is_dir() and not any((found / file).is_file() for file in ("pyproject.toml", "setup.py")):
            raise Refused(
                f"{where} names {path}, and {found} is no Python project: it has no pyproject.toml and no setup.py. Add one, or take"
                " the line out."
            )
        return place + extras, found.is_dir()

    def _own_tail(self, path: str) -> str:
        """The end of a path of another machine, such as that of an image, that the source has as well."""
        parts = path.strip("/").split("/") if path.startswith("/") else []
        tails = ("/".join(parts[count:]) for count in range(1, len(parts)))
        return next((tail for tail in tails if self.root and (self.root / tail).exists()), "")

    def _placed(self, found: Path | None, path: str, where: str) -> str:
        """Where a host finds a path of the source."""
        if found is None:
            raise Refused(
                f"{where} names {path}, and there is no such file or directory. Correct the path, or take the line out."
            )
        relative = os.path.relpath(os.path.abspath(found), self.root) if self.root else ".."
        if relative.startswith(".."):
            outside = (
                f"outside the source {self.root}" if self.root else "and the app has no source that it could be part of"
            )
            raise Refused(
                f"{where} names {path}, {outside}: no host gets it. Set flask_app_src to a directory that holds both, or copy it into"
                " the source."
            )
        files = (relative, *(os.path.normpath(f"{relative}/{name}") for name in ("pyproject.toml", "setup.py")))
        packed = any(map(self.is_packed, files)) or (found.is_dir() and self._has_packed(found))
        if not packed:
            raise Refused(
                f"{where} names {path}, which is left out of the release (.gitignore or flask_app_exclude). Name it in flask_app_include."
            )
        return SOURCE if relative == "." else f"{SOURCE}/{relative}"

    def _has_packed(self, folder: Path) -> bool:
        return any(self.is_packed(os.path.relpath(file, self.root)) for file in folder.iterdir())

    def _in_root(self, path: str) -> Path | None:
        return self.root / path if self.root else None

    def short(self, path: Path) -> str:
        """A path as every control node writes it, since it belongs to the release."""
        inside = self.root is not None and path.is_relative_to(self.root)
        return path.relative_to(self.root).as_posix() if inside else path.name

    @staticmethod
    def _refuse(where: str, mistake: str) -> None:
        if mistake:
            raise Refused(f"{where}{mistake}")

    @staticmethod
    def _check_variables(text: str, where: str) -> None:
        variables = requirement_mistakes.VARIABLE if "://" in text else requirement_mistakes.EXPANDED
        for name in variables.findall(text):
            if name != requirement_mistakes.EXPANDED.fullmatch(SOURCE)[1]:
                remedy = requirement_mistakes.remedy_for_variable(_argument(_EDITABLE, text) or text)
                raise Refused(
                    f"{where} names the environment variable {name}, which no host has when it installs. {remedy}"
                )

    def _check_constraint(self, name: str, text: str, where: str, target: list[str]) -> None:
        if target is self.found.constraints and not name:
            raise Refused(
                f"{where} is {shown(text)}, and a constraint begins with a name. Write NAME @ before it, or take the line out."
            )

    @staticmethod
    def _check_address(address: str, text: str, where: str) -> None:
        if re.match(r"[.\w-]*\\|[A-Za-z]:\\", address):
            raise Refused(f"{where} names {shown(address)}, a path of Windows. Write / in place of \\.")
        if "://" in address and re.search(r"\s", address):
            raise Refused(f"{where} is {shown(text)}, which is no requirement. Write a space in an address as %20.")

    @staticmethod
    def _check_plain(text: str, where: str) -> None:
        if re.fullmatch(r"pkg[-_]resources==0\.0\.0", text):
            raise Refused(
                f"{where} names {text}, which no index has: pip of an old Debian wrote it. Take the line out."
            )
        conda = re.fullmatch(r"([A-Za-z0-9._-]+)=([0-9][^=]*)(?:=\S+)?|([A-Za-z0-9._-]+)==([0-9][^=\s]*)=[^=\s]+", text)
        if conda:
            better = f"{conda[1] or conda[3]}=={conda[2] or conda[4]}"
            raise Refused(f"{where} is {shown(text)}, a line of Conda. Write {better}.")
        if not _PLAIN.match(text):
            raise Refused(f"{where} is {shown(text)}, {requirement_mistakes.of_form(text)}")
