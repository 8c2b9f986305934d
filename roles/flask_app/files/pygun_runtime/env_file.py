# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The app's environment file: KEY=value lines, a small and strict subset of dotenv.

* a line is empty, a comment (#), or KEY=value, with an optional `export` before it;
* an unquoted value ends at " #" or at the end of the line;
* 'single quotes' keep everything as it is, "double quotes" know \\\\, \\", \\n, \\r and \\t; nothing is substituted;
* a key given twice has the value of its last line;
* `{release}` in a value is the folder of the release that runs: `current` is another one while a deploy lasts.

Values are secrets: no message of this module contains one.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", re.DOTALL)
_SINGLE = re.compile(r"'([^']*)'\s*(?:#.*)?")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_COMMENT = re.compile(r"\s#.*")
#: In a value, and in a command of run.py.
PLACEHOLDER = "{release}"
#: The digest of a file without content, and of none.
EMPTY = hashlib.sha256().hexdigest()
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}


class EnvFileError(ValueError):
    """A line of the environment file cannot be understood; says which file and line, never the value."""


def parse(text: str, path: str = "<text>") -> dict[str, str]:
    """The variables in *text*; *path* is only used in messages."""
    values = {}
    for number, line in enumerate(map(str.strip, text.removeprefix("\ufeff").split("\n")), 1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if not match:
            raise EnvFileError(f"{path}, line {number}: expected KEY=value with a key of letters, digits and _")
        key, raw = match.groups()
        try:
            values[key] = _value(raw)
        except ValueError as error:
            raise EnvFileError(f"{path}, line {number}: the value of {key} {error}") from None
    return values


def _value(raw: str) -> str:
    if "\0" in raw:
        raise ValueError("contains a NUL character")
    if raw.startswith("'"):
        match = _SINGLE.fullmatch(raw)
        if not match:
            raise ValueError("has no closing ' at its end")
        return match.group(1)
    if raw.startswith('"'):
        match = _DOUBLE.fullmatch(raw)
        if not match:
            raise ValueError('has no closing " at its end')
        return re.sub(r"\\(.)", _unescape, match.group(1))
    return _COMMENT.sub("", raw, count=1).rstrip() if not raw.startswith("#") else ""


def _unescape(match: re.Match[str]) -> str:
    try:
        return _ESCAPES[match.group(1)]
    except KeyError:
        raise ValueError("has an unknown escape after a backslash; use 'single quotes' to keep it") from None


def load(path: str | None) -> tuple[dict[str, str], str]:
    """The variables in the file at *path* and the sha256 of its content; a missing file counts as an empty one."""
    content = b""
    if path:
        try:
            content = Path(path).read_bytes()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise EnvFileError(f"cannot read {path}: {error.strerror}; run as the app's own user") from None
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise EnvFileError(f"{path}, line {line}: not UTF-8") from None
    return parse(text, str(path)), hashlib.sha256(content).hexdigest()


def environment(release: str, path: str | None) -> tuple[dict[str, str], str]:
    """The environment of every process of a release, and the digest of the file at *path*."""
    values, digest = load(path)
    own = {"PYGUN_RELEASE": release}
    shared = Path(release).parents[1] / "shared"
    if shared.is_dir():
        own["PYGUN_SHARED_DIR"] = str(shared)
    return {**own, **{name: value.replace(PLACEHOLDER, release) for name, value in values.items()}}, digest
