# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find the hosts behind a load balancer in the inventory."""

from __future__ import annotations

import ipaddress
import typing as t

from ..module_utils.release.record import Question

#: Defaults of a service. The argument spec of the role has the same ones (a test compares them).
DEFAULTS = {
    "group": "api",
    "port": 0,
    "health_path": "",
    "health_host": "localhost",
    "certificates": [],
    "redirect_bind": "",
    "balance": "leastconn",
    "max_connections": 0,
    "options": [],
}
#: Default of flask_app_bind.
_BIND = "127.0.0.1:5000"
#: Defaults for the requests that an app takes at once. The role flask_app has the same ones (a test compares them).
APP = {
    "instances": 2,
    "workers": 0,
    "workers_max": 8,
    "worker_class": "gevent",
    "worker_connections": 1000,
    "threads": 8,
}


class BalancerError(Exception):
    """The inventory does not say which hosts serve; the text says why and what to do."""


def services(entries: t.Iterable[dict], groups: t.Mapping, variables: t.Mapping) -> list[dict[str, t.Any]]:
    """The services with every key set, and with ``servers``: name, address, port, and whether the address is a name.

    :param entries: load_balancer_services
    :param groups: the groups of the inventory with the names of their hosts
    :param variables: the variables of each host (hostvars)
    """
    found = []
    for entry in entries:
        service = {**DEFAULTS, **entry}
        hosts = list(groups.get(service["group"], ()))
        if not hosts:
            raise BalancerError(
                f"{service['name']} names the group {service['group']!r}, and the inventory has no host in it. Name the group"
                " of the hosts that serve it."
            )
        service.update(_question(service, entry, variables[hosts[0]]))
        service["servers"] = [_server(service, host, variables[host]) for host in hosts]
        found.append(service)
    return found


def _question(service: dict, entry: dict, app: t.Mapping) -> dict[str, str]:
    """The health check of a host. Values that the entry lacks are those of the app on the hosts."""
    path, host = service["health_path"], service["health_host"]
    if not service["port"]:  # the inventory says which app it is
        path = str(entry.get("health_path", app.get("flask_app_health_path", path)))
        host = str(entry.get("health_host", app.get("flask_app_health_host", host)))
        prefix = str((app.get("flask_app_env") or {}).get("SCRIPT_NAME") or "")
    else:
        prefix = ""
    return {"health_path": path, "health_host": host, "health_uri": Question(path, host, prefix).path}


def _server(service: dict, host: str, variables: t.Mapping) -> dict[str, t.Any]:
    address = str(variables.get("load_balancer_address") or variables.get("ansible_host") or host).strip("[]")
    return {
        "name": host,
        "address": address,
        "max_connections": int(service["max_connections"]) or _at_once(service["name"], host, variables),
        "port": int(service["port"]) or _port(service["name"], host, str(variables.get("flask_app_bind", _BIND))),
        "is_name": not _is_address(address),
    }


def _at_once(service: str, host: str, variables: t.Mapping) -> int:
    """Requests that the workers of a host take at once; beyond that, a request is better off in the queue of the balancer."""
    gunicorn = variables.get("flask_app_gunicorn") or {}
    app = {name: gunicorn.get(name, variables.get(f"flask_app_{name}", default)) for name, default in APP.items()}
    try:
        workers = int(app["instances"]) * (int(app["workers"]) or int(app["workers_max"]))
        of_each = {"sync": 1, "gthread": int(app["threads"])}.get(app["worker_class"], int(app["worker_connections"]))
        return max(1, workers * of_each)
    except (TypeError, ValueError):
        raise BalancerError(
            f"{service}: how many requests {host} takes at once cannot be derived from its flask_app_ variables: {app}. Correct them, or"
            " give the service max_connections."
        ) from None


def _port(service: str, host: str, bind: str) -> int:
    """The port that other machines reach."""
    address, _colon, port = bind.rpartition(":")
    if bind.startswith("unix:") or not port.isdigit():
        raise BalancerError(
            f"{service} takes its port from flask_app_bind, and that of {host} is {bind!r}, which no other machine reaches. Let"
            " the app listen on an address of the host."
        )
    if _is_address(address.strip("[]")) and ipaddress.ip_address(address.strip("[]")).is_loopback:
        raise BalancerError(
            f"{service} takes its port from flask_app_bind, and that of {host} is {bind!r}, which no other machine reaches. Set"
            f" flask_app_bind in the inventory, for example to 0.0.0.0:{port}, or give the service a port."
        )
    return int(port)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
