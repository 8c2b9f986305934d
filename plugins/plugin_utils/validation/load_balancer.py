# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules about the variables of the role load_balancer."""

from __future__ import annotations

import difflib
import re
import typing as t
from collections.abc import Iterator

from ..text import shown
from .addresses import check_bind, collide
from .flask_app import check_health_path
from .places import check_host_path
from .rules import Values, between, rule
from .supervisor import check_password
from .value_types import check_type

#: The types of a service's settings. The argument spec says the same (a test compares them).
SERVICE = {
    "name": "str",
    "bind": "str",
    "group": "str",
    "port": "int",
    "health_path": "str",
    "health_host": "str",
    "certificates": "list",
    "redirect_bind": "str",
    "balance": "str",
    "max_connections": "int",
    "options": "list",
}
_BALANCE = ("leastconn", "roundrobin", "random", "source")


@rule("load_balancer_services")
def _services(values: list[dict]) -> Iterator[str]:
    if not values:
        yield "it is empty. Name a service, or take the host out of the balancers."
    names, binds = set(), {}
    for number, service in enumerate(values, 1):
        found = list(_shape_of_service(service))
        if found:
            yield from (f"entry {number}: {text}" for text in found)
            continue
        name = service["name"]
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name):
            yield f"entry {number}: name {shown(name)}: write lower-case letters, digits, - and _, beginning with a letter."
        elif name in ("statistics", "system"):
            yield f"entry {number}: name {shown(name)}: the role takes that name itself. Choose another."
        elif name in names:
            yield f"entry {number}: name {shown(name)}: another service has it. Choose another."
        names.add(name)
        yield from (f"{name}: {text}" for text in _service(service))
        for key in ("bind", "redirect_bind"):
            bind = service.get(key)
            for other, owner in binds.items():
                if bind and collide(bind, other):
                    yield f"{name}: {key} {shown(bind)}: {owner} listens there. Choose another port for one of them."
            if bind:
                binds[bind] = name


def _shape_of_service(service: dict[str, t.Any]) -> Iterator[str]:
    """Its settings and their types."""
    for key, value in service.items():
        if key not in SERVICE:
            near = difflib.get_close_matches(str(key), SERVICE, 1)
            yield f"there is no setting {shown(key)}; {f'is {near[0]} meant? Correct it.' if near else 'take it out.'}"
        else:
            option = {"type": SERVICE[key], "elements": "str"} | ({"choices": _BALANCE} if key == "balance" else {})
            yield from (f"{key}: {text}" for text in check_type(SERVICE[key], option, value))
    for key in ("name", "bind"):
        if key not in service:
            yield f"{key} is missing. It has no default: set it."


def _service(service: dict[str, t.Any]) -> Iterator[str]:
    """The problems of one service by itself."""
    for key in ("bind", "redirect_bind"):
        value = service.get(key, "")
        if value.startswith("unix:"):
            yield f"{key} {shown(value)}: write an address and a port such as 0.0.0.0:443."
        elif value or key == "bind":
            yield from (f"{key} {shown(value)}: {text}" for text in check_bind(value))
    if not 0 <= int(service.get("port", 0)) <= 65535:
        yield f"port {service['port']}: write a number from 1 to 65535, or 0 to take it from flask_app_bind."
    if int(service.get("max_connections", 0)) < 0:
        yield f"max_connections {service['max_connections']}: write a number from 1 on, or 0 to take it from the app's workers."
    if not re.fullmatch(r"[A-Za-z0-9._-]+", service.get("group", "api")):
        yield f"group {shown(service['group'])}: that is no name of a group."
    yield from (f"health_path: {text}" for text in check_health_path(service.get("health_path", "")))
    if not re.fullmatch(r"[A-Za-z0-9.:_\[\]-]+", service.get("health_host", "localhost")):
        yield f"health_host {shown(service['health_host'])}: write a host name, without a scheme or a path."
    for path in service.get("certificates", ()):
        yield from (f"certificates {shown(path)}: {text}" for text in check_host_path(path))
    if service.get("redirect_bind") and not service.get("certificates"):
        yield "redirect_bind would send callers to TLS, and the service has no certificates. Set both, or none."
    yield from (f"options: {text}" for text in _lines(service.get("options", ())))


@rule("load_balancer_global", "load_balancer_defaults")
def _lines(values: list[str]) -> Iterator[str]:
    """Lines that stay in their section of the configuration."""
    for value in values:
        word = value.split()[0]
        if word in ("global", "defaults", "frontend", "backend", "listen", "resolvers", "userlist", "peers"):
            yield f"{shown(value)} would begin another section. Take it out."


@rule("load_balancer_certificates")
def _certificate_files(values: list[str]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for value in values:
        name = value.rpartition("/")[2]
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
            yield f"{shown(value)}: HAProxy does not take a file of that name. Use letters, digits and . _ - only."
        elif name in seen:
            yield f"{shown(value)} and {shown(seen[name])} have the same name, and would be one file. Rename one."
        seen[name] = value


@rule("load_balancer_socket")
def _load_balancer_socket(value: str) -> Iterator[str]:
    if not re.fullmatch(r"/run/haproxy/[A-Za-z0-9._-]+", value):
        yield "write a file directly in /run/haproxy, the directory that the distribution makes for it."


@rule("load_balancer_stats_bind")
def _stats_bind(value: str) -> Iterator[str]:
    if value.startswith("unix:"):
        yield "write an address and a port such as 127.0.0.1:8404."
    elif value:
        yield from check_bind(value)


@rule("load_balancer_stats_user")
def _stats_user(value: str) -> Iterator[str]:
    if not re.fullmatch(r"[A-Za-z0-9._-]*", value):
        yield "write letters, digits and . _ - only."


@rule("load_balancer_stats_password")
def _stats_password(value: str) -> Iterator[str]:
    yield from check_password(value, 8)
    if re.search(r"[\s#\"'\\$]", value):
        yield "HAProxy's configuration reads spaces, quotes, #, $ and backslashes in a way of its own. Use others."


@between
def _stats_page(values: Values) -> Iterator[tuple[str, str]]:
    if values["load_balancer_stats_bind"]:
        for name in ("load_balancer_stats_user", "load_balancer_stats_password"):
            if not values[name]:
                yield name, "is empty, and load_balancer_stats_bind is not. Set it; there is no default."
        for service in values["load_balancer_services"]:
            if collide(str(service["bind"]), values["load_balancer_stats_bind"]):
                yield (
                    "load_balancer_stats_bind",
                    f"is {shown(values['load_balancer_stats_bind'])}, where {service['name']} listens. Choose another port.",
                )
