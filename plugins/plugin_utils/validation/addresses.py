# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules about addresses and sockets."""

from __future__ import annotations

import ipaddress
import re
import typing as t
from collections.abc import Iterator

from ..text import shown
from .rules import Values, between, rule

#: Bytes of a unix socket's path that Linux can hold.
_SOCKET_PATH = 107


@rule("flask_app_bind")
def check_bind(value: str) -> Iterator[str]:
    """Shape alone; whether the holder of the socket can do it is another rule."""
    example = "Write an address and a port such as 127.0.0.1:5000, or unix:/run/NAME/NAME.sock."
    if value.startswith("unix:"):
        if not value.startswith("unix:/") or value.startswith("unix://"):
            yield "the path of the socket has to be absolute, right behind the colon. Write unix:/run/NAME/NAME.sock."
        return
    host, colon, port = value.rpartition(":")
    if "://" in value or "/" in value:
        yield f"that is no address to listen on. {example}"
    elif re.fullmatch(r"\d+", value):
        yield f"it has no address. Write 127.0.0.1:{value}, or 0.0.0.0:{value} for every address of the host."
    elif not colon or (parse_ip(value) is not None and parse_ip(value).version == 6):
        yield f"it has no port. {example}"
    elif not re.fullmatch(r"[1-9]\d{0,4}", port) or int(port) > 65535:
        yield f"{shown(port)} is no port; one is between 1 and 65535. {example}"
    elif host in ("", "*"):
        yield f"it has no address. Write 0.0.0.0:{port} for every address of the host, or 127.0.0.1:{port} for itself."
    elif host == "localhost":
        yield f"a name is looked up, and may be looked up differently tomorrow. Write 127.0.0.1:{port}."
    elif parse_ip(host.removeprefix("[").removesuffix("]")) is None:
        yield f"{shown(host)} is no IP address. {example}"
    elif (parse_ip(host.strip("[]")).version == 6) != (host.startswith("[") and host.endswith("]")):
        yield f"an IPv6 address has brackets, an IPv4 address does not. {example}"
    elif "%" in host:
        yield "an address with a zone works on one network card only. Write an address without %."


def collide(one: str, other: str) -> bool:
    """Whether two apps cannot both listen on these values of ``flask_app_bind``."""
    if one.startswith("unix:") or other.startswith("unix:"):
        return one == other
    (host, _colon, port), (other_host, _colon, other_port) = one.rpartition(":"), other.rpartition(":")
    first, second = parse_ip(host.strip("[]")), parse_ip(other_host.strip("[]"))
    if port != other_port or first is None or second is None:
        return False
    if first.version != second.version:  # [::] takes the port of IPv4 too
        return any(address.version == 6 and address.is_unspecified for address in (first, second))
    return first == second or first.is_unspecified or second.is_unspecified


def parse_ip(text: str) -> t.Any:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


@rule("flask_app_socket_mode")
def _socket_mode(value: str) -> Iterator[str]:
    if not re.fullmatch(r"0?[0-7]{3}", value):
        yield 'write three octal digits in quotes, such as "0660".'
    elif int(value, 8) & 0o600 != 0o600:
        yield 'the app itself could not use its socket. Let the first digit be 6 or 7, as in "0660".'


def network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


@between
def _holder(values: Values) -> Iterator[tuple[str, str]]:
    bind, name = values["flask_app_bind"], values["flask_app_name"]
    if bind.startswith("["):
        if values["flask_app_socket"] == "supervisor":
            yield (
                "flask_app_bind",
                f"is {shown(bind)}: supervisor listens on IPv4 only. Set flask_app_socket: systemd, or write an IPv4 address.",
            )
    elif bind.startswith("unix:"):
        path = bind[len("unix:") :]
        example = f"Write unix:/run/{name}/{name}.sock."
        if not re.fullmatch(rf"/run/{re.escape(name)}/[A-Za-z0-9_][A-Za-z0-9._-]*", path):
            yield "flask_app_bind", f"is {shown(bind)}: the app's sockets are files in /run/{name}. {example}"
        elif len(path) > _SOCKET_PATH:
            yield "flask_app_bind", f"is longer than the {_SOCKET_PATH} bytes that Linux allows for a socket. {example}"
        elif path.endswith((".json", ".ready", ".ctl", ".next", ".pid", "/keeper.sock")) or re.search(
            rf"/{re.escape(name)}-\d+\.sock$", path
        ):
            yield "flask_app_bind", f"is {shown(bind)}, a file that the runtime itself makes. {example}"


@between
def _pid_file(values: Values) -> Iterator[tuple[str, str]]:
    path, name = values["flask_app_pid_file"], values["flask_app_name"]
    if path and not re.fullmatch(rf"/run/{re.escape(name)}/[A-Za-z0-9_][A-Za-z0-9._-]*\.pid", path):
        yield (
            "flask_app_pid_file",
            f"is {shown(path)}: the app can write it in /run/{name} only. Write /run/{name}/{name}.pid, or nothing.",
        )


@between
def _same_port(values: Values) -> Iterator[tuple[str, str]]:
    host, _colon, port = values["flask_app_bind"].rpartition(":")
    if not values["supervisor_http_enabled"] or not port.isdigit() or int(port) != values["supervisor_http_port"]:
        return
    app, page = parse_ip(host.strip("[]")), parse_ip(values["supervisor_http_bind"])
    if app == page or app.is_unspecified or page.is_unspecified:
        yield (
            "flask_app_bind",
            f"is {shown(values['flask_app_bind'])}, and supervisor_http_port is {port} too. Choose another port for one of them.",
        )


def closed_socket(values: Values, _memory_mb: int) -> Iterator[tuple[str, str]]:
    mode, name, group = values["flask_app_socket_mode"], values["flask_app_name"], values["flask_app_group"]
    if values["flask_app_bind"].startswith("unix:") and not mode.endswith("0"):
        yield (
            "flask_app_socket_mode",
            f"is {shown(mode)}, and others cannot reach the socket all the same: /run/{name} is for root and flask_app_group"
            f" ({group}) alone. Put callers into that group.",
        )
