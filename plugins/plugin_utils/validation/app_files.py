# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules about the files of an app from outside its source."""

from __future__ import annotations

import difflib
import re
import typing as t
from collections.abc import Iterator
from urllib.parse import urlsplit

from ..text import shown
from .rules import Values, between, rule
from .value_types import check_type

#: The types of an entry's settings. The argument spec says the same (a test compares them).
FILE = {"path": "str", "src": "str", "url": "str", "sha256": "str", "unarchive": "bool", "headers": "dict"}


@rule("flask_app_files")
def _files(values: list[dict[str, t.Any]]) -> Iterator[str]:
    paths: list[str] = []
    for number, file in enumerate(values, 1):
        found = list(_shape(file)) or list(_path(file["path"])) or list(_origin(file))
        yield from (f"entry {number}: {text}" for text in found)
        if found:
            continue
        path = file["path"]
        other = next(
            (one for one in paths if f"{one}/".startswith(f"{path}/") or f"{path}/".startswith(f"{one}/")), None
        )
        if other:
            yield f"entry {number}: path {shown(path)}: another entry has {shown(other)}. One would lie in the other: choose another path."
        paths.append(path)


@between
def _shared(values: Values) -> Iterator[tuple[str, str]]:
    shared = [value.rstrip("/") for value in values["flask_app_shared_paths"]]
    for file in values["flask_app_files"]:
        path = file["path"]
        other = next(
            (one for one in shared if f"{one}/".startswith(f"{path}/") or f"{path}/".startswith(f"{one}/")), None
        )
        if other:
            yield (
                "flask_app_files",
                f"names {shown(path)}, and flask_app_shared_paths has {shown(other)}: a file of the release and what outlives releases"
                " cannot lie in each other. Choose another path for one of them.",
            )


def _shape(file: dict[str, t.Any]) -> Iterator[str]:
    for key, value in file.items():
        if key not in FILE:
            near = difflib.get_close_matches(str(key), FILE, 1)
            hint = f"Write {near[0]}, if that is meant." if near else f"Write {', '.join(FILE)}."
            yield f"{shown(key)} is no setting of a file. {hint}"
        else:
            yield from (f"{key}: {text}" for text in check_type(FILE[key], {}, value))
    if not file.get("path"):
        yield "path is not set. Write where the app finds the file, such as models/scoring.onnx."
    if bool(file.get("src")) == bool(file.get("url")):
        yield "write one of src, a file on the control node, and url."


def _path(path: str) -> Iterator[str]:
    parts = path.split("/")
    if path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        yield f"path {shown(path)}: write it relative to the source, without . and .., such as models/scoring.onnx."
    elif not re.fullmatch(r"[A-Za-z0-9/._+@=, -]+", path) or any(part.startswith("-") for part in parts):
        yield f"path {shown(path)}: use letters, digits and . _ + @ = , - only; no part begins with a dash."


def _origin(file: dict[str, t.Any]) -> Iterator[str]:
    digest, url = file.get("sha256") or "", file.get("url") or ""
    if digest and not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        yield f"sha256 {shown(digest)}: write the 64 hexadecimal digits that sha256sum prints."
    elif url and not digest:
        yield "sha256 is not set, and a file from an address needs it: the release is named by it. sha256sum prints it."
    if not url:
        if file.get("headers"):
            yield "headers belong to a url. Take them out."
        return
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and not re.search(r"\s", url)
    except ValueError:
        usable = False
    if not usable:
        yield "url: write the whole address of a file, beginning with http:// or https://."
    elif "@" in parts.netloc:
        yield "url: it holds a user or a password, which logs would show. Put them into headers (Authorization)."
    for name, value in (file.get("headers") or {}).items():
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
            yield f"headers: {shown(name)} is no name of a header. Write letters, digits and dashes, such as Authorization."
        elif not isinstance(value, str) or not value or not value.isprintable() or not value.isascii():
            yield f"headers: the value of {name} is no text on one line. Put it in quotes; a vault's file may end with a line end."
