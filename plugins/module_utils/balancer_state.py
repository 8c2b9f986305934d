# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The state of a balancer: HAProxy's unit, its own check of its configuration, and its servers. Reads only."""

from __future__ import annotations

import dataclasses
import os
import re

from .haproxy import BalancerError, HAProxy, Server
from .host import inspection
from .host.inspection import Outcome

#: The file by which a host is known as a balancer of the collection.
KEEPER = "/usr/local/lib/pygun/keep_server_state.py"
UNIT = "haproxy.service"
CONFIGURATION = "/etc/haproxy/haproxy.cfg"
_CHECK = ("/usr/sbin/haproxy", "-c", "-q", "-f")
_SOCKET = "/run/haproxy/admin.sock"


@dataclasses.dataclass
class Balancer:
    """One look at HAProxy."""

    active: str = "active"
    at_boot: str = "enabled"
    #: The output of HAProxy's own check of the configuration on disk, and of the files that it names.
    check: Outcome = Outcome(0, "")
    servers: list[Server] = dataclasses.field(default_factory=list)
    #: Why it does not answer; empty if it does.
    error: str = ""

    def backends(self) -> dict[str, list[Server]]:
        """The servers of each backend."""
        found: dict[str, list[Server]] = {}
        for server in self.servers:
            found.setdefault(server.backend, []).append(server)
        return found


def observe() -> Balancer | None:
    """The balancer of this host; None if it is none of the collection's."""
    if not os.path.exists(KEEPER):
        return None
    properties = inspection.unit_properties(UNIT, "ActiveState,UnitFileState,LoadState")
    state = Balancer(
        properties.get("ActiveState", ""),
        properties.get("UnitFileState", ""),
        inspection.outcome_of([*_CHECK, CONFIGURATION]),
    )
    if state.active == "active":
        found = re.search(r"^\s*stats socket (/\S+)", inspection.read_text(CONFIGURATION), re.MULTILINE)
        try:
            state.servers = HAProxy(found.group(1) if found else _SOCKET).servers()
        except BalancerError as error:
            state.error = str(error)
    return state
