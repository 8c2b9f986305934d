# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The time limits that an activation keeps with its instances, and what it reads of them."""

from __future__ import annotations

import re
import typing as t

#: Seconds between two looks at a process; each look also makes supervisord reap its children at once.
POLL = 0.05
#: Seconds that a boot may take beyond boot_timeout: the runtime's own limit should strike first, it can say more.
BOOT_MARGIN = 10.0
#: Seconds beyond stop_timeout, after which supervisord should have killed what did not stop.
STOP_MARGIN = 5.0
#: Seconds that one HTTP answer of an instance may take.
ANSWER_TIMEOUT = 10.0
#: Seconds within which everything must answer once all instances are ready.
VERIFY_TIMEOUT = 5.0


def instances_in(conf: bytes) -> int | None:
    """How many processes of the program serve, as its configuration tells them."""
    found = re.search(rb"PYGUN_INSTANCES=[\"']?(\d+)", conf)
    return int(found.group(1)) if found else None


def positive_or_one(value: t.Any) -> int:
    return value if isinstance(value, int) and value > 0 else 1
