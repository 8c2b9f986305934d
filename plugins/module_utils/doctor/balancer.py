# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks of a balancer: whether HAProxy runs, can start again, and has servers."""

from __future__ import annotations

import typing as t

from ..balancer_state import CONFIGURATION, UNIT
from .findings import ERROR, WARNING, Finding
from .state import HostState


def check_balancer(state: HostState) -> t.Iterator[Finding]:
    balancer = state.balancer
    if balancer is None:
        return
    if balancer.check.status:
        yield Finding(
            ERROR,
            "balancer-configuration",
            CONFIGURATION,
            f"HAProxy does not take {CONFIGURATION} and the files that it names:\n{balancer.check.text[-600:]}",
            "That file or a certificate has been changed. A running HAProxy keeps the former one, but cannot start again.",
            "Run the playbook pygun.stack.balancer, which writes both again, or correct what the lines above say.",
        )
    if balancer.active != "active":
        yield Finding(
            ERROR,
            "balancer-stopped",
            UNIT,
            f"{UNIT} is {balancer.active or 'not there'}",
            "It was stopped, or cannot start: no caller reaches the services behind it.",
            f"systemctl start {UNIT}; if it does not start, `journalctl -u {UNIT}` says why.",
        )
    elif balancer.at_boot != "enabled":
        yield Finding(
            WARNING,
            "balancer-disabled",
            UNIT,
            f"{UNIT} is {balancer.at_boot or 'not enabled'}",
            "After a reboot it does not run.",
            f"systemctl enable {UNIT}",
        )
    if balancer.error:
        yield Finding(
            ERROR,
            "balancer-silent",
            UNIT,
            balancer.error,
            "HAProxy runs, but its admin socket does not answer: no host can be drained.",
            f"systemctl restart {UNIT}",
        )
    for backend, servers in balancer.backends().items():
        away = [f"{server.name} ({server.shown})" for server in servers if not server.gets_requests]
        if len(away) == len(servers):
            yield Finding(
                ERROR,
                "balancer-no-server",
                backend,
                f"no server of {backend} gets requests: {', '.join(away)}",
                "HAProxy answers 503. The health checks of all servers fail, or all are drained.",
                "Run the playbook pygun.stack.doctor for these hosts. A drained one comes back with pygun.stack.backend_server, state ready.",
            )
        elif away:
            yield Finding(
                WARNING,
                "balancer-server-away",
                backend,
                f"these servers of {backend} get no requests: {', '.join(away)}",
                "Their health checks fail, or they are drained: an upgrade that did not end leaves its host drained.",
                "Run the playbook pygun.stack.doctor for these hosts, or the playbook pygun.stack.upgrade again.",
            )
