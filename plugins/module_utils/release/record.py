# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a release says of itself."""

from __future__ import annotations

import hashlib
import os
import re
import typing as t

from ..host import foreign, inspection

#: Bytes of a release.json.
_LARGEST = 1024 * 1024
#: Bytes of an environment file.
_LARGEST_ENVIRONMENT = 4 * 1024 * 1024


def _read(path: str) -> dict[str, t.Any]:
    """The release.json of a release; empty if it has none that can be read."""
    try:
        found = foreign.parse(foreign.read(os.path.join(path, "release.json"), _LARGEST).decode())
    except (OSError, ValueError, foreign.Unreadable):
        return {}
    return found if isinstance(found, dict) else {}


def shown_settings(path: str) -> str:
    """What a diff may show of a release's pygun.py; empty when the release does not say so."""
    text = _read(path).get("pygun_py_shown")
    return text if isinstance(text, str) else ""


def bind_of_release(root: str) -> str:
    found = re.search(r"""^\s*bind=["']([^"']+)["']""", inspection.read_text(f"{root}/current/pygun.py"), re.MULTILINE)
    return found.group(1) if found else ""


def health_of_release(path: str) -> tuple[str, str]:
    """Path and Host header of the health check, as the pygun.py of a release has them."""
    text = inspection.read_text(os.path.join(path, "pygun.py"))
    found = dict(re.findall(r"^\s*health_(path|host)\s*=\s*[\"']([^\"'\n]*)[\"']", text, re.MULTILINE))
    return found.get("path", ""), found.get("host") or "localhost"


def boot_timeout_of_release(path: str, otherwise: float) -> float:
    """Seconds that the pygun.py of a release gives a boot."""
    text = inspection.read_text(os.path.join(path, "pygun.py"))
    found = re.search(r"^\s*boot_timeout\s*=\s*(\d+(?:\.\d+)?)", text, re.MULTILINE)
    return float(found.group(1)) if found else otherwise


def environment_of_release(path: str) -> str:
    """The digest of the environment file that the pygun.py of a release names, as an instance that starts now records it."""
    text = inspection.read_text(os.path.join(path, "pygun.py"))
    found = re.search(r"""^\s*env_file\s*=\s*["']([^"'\n]+)["']""", text, re.MULTILINE)
    try:
        return environment_digest(
            foreign.read(os.path.realpath(found.group(1)), _LARGEST_ENVIRONMENT) if found else b""
        )
    except (OSError, foreign.Unreadable):
        return environment_digest(b"")


def environment_digest(content: bytes) -> str:
    """The digest by which an instance says which env file it was started with."""
    return hashlib.sha256(content).hexdigest()
