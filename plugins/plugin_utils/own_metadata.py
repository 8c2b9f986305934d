# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the code of a project reads the project's own metadata, such as its version, which it has only where it is installed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ..module_utils.resolved import normalize

_MOST_FILES = 2000
_LARGEST = 1 << 20
_CALL = re.compile(
    rb"\b(?:version|metadata|distribution|requires|get_distribution|require)\(\s*(?:(__package__|__name__)|[\"']([\w.-]+)[\"'])\s*\)"
)


def is_read(source: Path, inside: Iterable[str], content: dict) -> bool:
    """Look into the source.

    :param inside: the paths of its files
    :param content: the contents of its pyproject.toml
    """
    name = content.get("project", {}).get("name") or content.get("tool", {}).get("poetry", {}).get("name") or ""
    if not name:
        return False
    own = normalize(str(name))
    files = sorted((path for path in inside if path.endswith(".py")), key=lambda path: (path.count("/"), path))
    return any(
        normalize(asked) == own for path in files[:_MOST_FILES] for asked in _asked_for(source / path, path.split("/"))
    )


def _asked_for(file: Path, parts: list[str]) -> list[str]:
    """The projects whose metadata a file reads."""
    try:
        text = file.read_bytes() if file.stat().st_size <= _LARGEST else b""
    except OSError:
        return []
    package = parts[0] if len(parts) == 2 and parts[1] == "__init__.py" else ""
    if b"metadata" not in text and b"pkg_resources" not in text:
        return []
    return [named.decode() if named else package for _variable, named in _CALL.findall(text)]
