# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the doctor says: findings, and the options of an examination."""

from __future__ import annotations

import dataclasses

ERROR = "error"
WARNING = "warning"


@dataclasses.dataclass(frozen=True)
class Options:
    """Where things are; see the documentation of the module `doctor`."""

    name: str = ""
    base_dir: str = "/srv"
    conf_dir: str = "/etc/supervisor"
    tools_dir: str = "/opt/pygun"
    unit: str = "supervisord.service"
    control_clock: float = 0.0


@dataclasses.dataclass
class Finding:
    """One thing that is wrong. ``subject`` is the app, file, process or part of the host that it is about."""

    severity: str
    code: str
    subject: str
    symptom: str
    cause: str
    remedy: str
