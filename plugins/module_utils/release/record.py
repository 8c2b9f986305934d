# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The one reader of a release's facts, which are in its release.json.

It has the values that its pygun.py was rendered from; the id of a release covers them. How many instances run, as which user, and how long
they may take to stop belongs to the program, which outlives a release: `supervisor/app_program.py` reads that in supervisor's
configuration. The standard library alone: on a host the memory guard has a copy of this file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import re
import typing as t

from ..host import foreign, text

#: Seconds that a boot may take beyond boot_timeout: the runtime's own limit should strike first, it can say more.
BOOT_MARGIN = 10.0
#: Bytes of a release.json.
_LARGEST = 1024 * 1024
#: Characters of one of its texts.
_LONGEST = 4096
#: Bytes of an environment file.
_LARGEST_ENVIRONMENT = 4 * 1024 * 1024


#: The path below which the app is served, in an environment file; the last one holds.
_SCRIPT_NAME = re.compile(r"""^\s*(?:export\s+)?SCRIPT_NAME\s*=\s*["']?(/[^\s"'#?]+)""", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Question:
    """The request of a health check: a GET of ``path``, as callers write it. pygun_runtime/health.py asks the same in process."""

    health_path: str
    host: str = "localhost"
    script_name: str = ""

    @property
    def path(self) -> str:
        """gunicorn serves nothing that does not begin with SCRIPT_NAME."""
        path, prefix = self.health_path or "/", self.script_name.rstrip("/")
        return path if path.partition("?")[0] == prefix or path.startswith(f"{prefix}/") else f"{prefix}{path}"


@dataclasses.dataclass(frozen=True)
class Service:
    """Address, health check, time-outs and places of a release. Empty and 0: not set. The other defaults are those of the runtime."""

    bind: str = ""  # the public address, as flask_app_bind has it
    health_path: str = ""
    health_host: str = "localhost"
    boot_timeout: float = 30.0  # seconds, as the other one
    graceful_timeout: float = 0.0
    env_file: str = ""
    run_dir: str = ""
    log_dir: str = ""
    wsgi: str = ""  # as flask_app_wsgi has it

    def question(self) -> Question:
        """The request of a health check of the app."""
        assignments = _SCRIPT_NAME.findall(self._environment().decode("utf-8", "replace"))
        return Question(self.health_path, self.health_host, assignments[-1] if assignments else "")

    def environment_digest(self) -> str:
        """The digest of the environment file, as an instance that starts now records it."""
        return environment_digest(self._environment())

    def _environment(self) -> bytes:
        try:
            return foreign.read(os.path.realpath(self.env_file), _LARGEST_ENVIRONMENT) if self.env_file else b""
        except (OSError, foreign.Unreadable):
            return b""


_TYPES = {field.name: field.type for field in dataclasses.fields(Service)}


def service_from(given: dict[str, t.Any] | None) -> dict[str, t.Any]:
    """Convert the module's parameter `service` for release.json: templates can turn numbers into texts."""
    known = {name: value for name, value in (given or {}).items() if name in _TYPES and value is not None}
    return {name: float(value) if _TYPES[name] == "float" else str(value) for name, value in known.items()}


def service_of(path: str) -> Service:
    """The service of the release in this folder. Only this function knows releases that an older version has built."""
    found = metadata(path).get("service")
    if not found or not isinstance(found, dict):
        found = _service_of_before(path)
    return Service(**{name: value for name, value in found.items() if _fits(name, value)})


def _fits(name: str, value: t.Any) -> bool:
    if _TYPES.get(name) == "float":
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    return name in _TYPES and isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable()


def _service_of_before(path: str) -> dict[str, t.Any]:
    """For a release that was built without the field, by an older version: the settings in its pygun.py.

    Remove this once no such release can be on a host.
    """
    settings = text.read_text(os.path.join(path, "pygun.py"))
    names = "|".join(_TYPES)
    found: dict[str, t.Any] = {}
    for name, word, number in re.findall(
        rf"""^\s*({names})\s*=\s*(?:["']([^"'\n]*)["']|(\d+(?:\.\d+)?))""", settings, re.MULTILINE
    ):
        found.setdefault(name, float(number) if number else word)
    return found


def metadata(path: str) -> dict[str, t.Any]:
    """The release.json of the release in this folder; empty if it has none that can be read."""
    try:
        return foreign.mapping(os.path.join(path, "release.json"), _LARGEST)
    except (OSError, foreign.Unreadable):
        return {}


def shown_settings(path: str) -> str:
    """The text of a release's pygun.py that a diff may show; empty if the release has none."""
    shown = metadata(path).get("pygun_py_shown")
    return shown if isinstance(shown, str) else ""


def environment_digest(content: bytes) -> str:
    """The digest by which an instance says which env file it was started with."""
    return hashlib.sha256(content).hexdigest()
