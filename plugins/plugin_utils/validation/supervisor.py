# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules about the variables of the role supervisor, programs included."""

from __future__ import annotations

import difflib
import re
import typing as t
from collections.abc import Iterator

from ...module_utils.supervisor import program_settings
from ..systemd_service import DIRECTIVES
from ..text import shown
from .addresses import parse_ip
from .places import READ_ONLY_DIRECTORIES, SYSTEM_DIRECTORIES, check_host_path, is_below
from .rules import Values, between, rule
from .value_types import check_characters, check_type, typed, yaml_kind


@rule("supervisor_umask")
def _umask(value: str) -> Iterator[str]:
    if not re.fullmatch(r"0?[0-7]{3}", value):
        yield 'write three octal digits in quotes, such as "022".'
    elif int(value, 8) & 0o700:
        yield 'owners could not use what they make. Let the first digit be 0, as in "022".'


@rule("supervisor_socket")
def _supervisor_socket(value: str) -> Iterator[str]:
    if not re.fullmatch(r"/run/supervisor/[A-Za-z0-9._-]+", value):
        yield "write a file directly in /run/supervisor, the directory that systemd makes for the unit."
    elif value == "/run/supervisor/supervisord.pid":
        yield "supervisord's pid file has that name. Write /run/supervisor/supervisor.sock."


@rule("supervisor_ctl_link")
def _ctl_link(value: str) -> Iterator[str]:
    if value:
        yield from check_host_path(value)
        if value in SYSTEM_DIRECTORIES:
            yield "that is a directory. Write the path of the link, such as /usr/local/bin/supervisorctl."


@rule("supervisor_http_user")
def _http_user(value: str) -> Iterator[str]:
    if re.search(r"[:%\s]", value):
        yield "neither a colon, a percent sign nor a space can be in it. Choose another."


#: The host holds the password as SHA-1 without a salt, of which a graphics card tries 10^10 in a second.
_SHORTEST_PASSWORD = 16


@rule("supervisor_http_password")
def _http_password(value: str) -> Iterator[str]:
    yield from check_password(value, _SHORTEST_PASSWORD)


def check_password(value: str, shortest: int) -> Iterator[str]:
    if value and len(value) < shortest:
        yield f"it is shorter than {shortest} characters. Choose a longer one, and keep it in ansible-vault."
    elif value.lower() in (
        "password",
        "supervisor",
        "supervisord",
        "changeme",
        "changemechangeme",
        "passwordpassword",
        "1234567890123456",
        "12345678",
        "123456789",
        "qwertyui",
    ):
        yield "it is among the first that anybody tries. Choose another, and keep it in ansible-vault."


@rule("supervisor_http_bind")
def _http_bind(value: str) -> Iterator[str]:
    address = parse_ip(value)
    if address is None or address.version != 4:
        yield "write an IPv4 address without a port; the port is supervisor_http_port."


@rule("supervisor_http_hosts")
def _http_hosts(value: list) -> Iterator[str]:
    for name in value:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?", name):
            yield f"{shown(name)}: write a host name, with a port where the address of the page has one, and nothing else."


@rule("supervisor_unit_options")
def _unit_options(values: dict[str, t.Any]) -> Iterator[str]:
    own = {
        "Type": "",
        "ExecStart": "",
        "ExecReload": "",
        "ExecStopPost": "",
        "KillMode": "",
        "PIDFile": "",
        "RuntimeDirectory": "",
        "RuntimeDirectoryMode": "",
        "User": "",
        "Group": "",
        "DynamicUser": "",
        "TimeoutStopSec": " Set supervisor_stop_timeout.",
        "TimeoutSec": " Set supervisor_stop_timeout.",
    }
    for name, value in values.items():
        if name in own:
            yield f"{name} is the role's own; with another value supervisord or the apps would not work. Take it out.{own[name]}"
        elif name not in DIRECTIVES:
            near = difflib.get_close_matches(name, DIRECTIVES, 1, 0.7)
            yield (
                f"{name} is no directive that systemd knows in [Service], and systemd would pass over it;"
                f" {f'is {near[0]} meant? Correct it.' if near else 'take it out, or see systemd.exec(5) and systemd.resource-control(5).'}"
            )
        elif isinstance(value, (list, dict)):
            yield f"{name} is {yaml_kind(value)}. Write its values in one text, with spaces between them."
        elif isinstance(value, str) and value.endswith("\\"):
            yield f"{name} ends with a backslash, by which systemd would join the next line to it. Take it out."


@rule("supervisor_programs")
def _programs(values: list[dict]) -> Iterator[str]:
    yield from _declared("program", values)


@rule("supervisor_listeners")
def _listeners(values: list[dict]) -> Iterator[str]:
    yield from _declared("eventlistener", values)


def _declared(kind: str, entries: list[dict]) -> Iterator[str]:
    for number, entry in enumerate(entries, 1):
        name = entry.get("name")
        subject = name if isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) else f"entry {number}"
        yield from (f"{subject}: {text}" for text in _declared_entry(kind, entry))


def _declared_entry(kind: str, entry: dict) -> Iterator[str]:
    """Types and characters first, as for a variable; what the settings mean is known to who writes them into files."""
    right = {}
    for name, value in entry.items():
        if not isinstance(name, str):
            yield f"the name {shown(name)} is {yaml_kind(name)}. Put it in quotes."
            continue
        found = list(check_characters(name, True, f"the name {shown(name)}: ")) or list(
            program_settings.unknown(kind, [name])
        )
        if not found:
            found = [f"{name}: {text}" for text in check_setting(kind, name, value)]
        yield from found
        if not found:
            right[name] = typed({"type": program_settings.SETTINGS[kind][name]}, value)
    yield from program_settings.problems(kind, right, rejected=entry.keys() - right.keys())


def check_setting(kind: str, name: str, value: t.Any) -> Iterator[str]:
    """The problems with the type or the characters of a program's setting."""
    of_type = program_settings.SETTINGS[kind][name]
    if (of_type == "size" and isinstance(value, int)) or (name == "autorestart" and isinstance(value, bool)):
        return
    if name == "exitcodes" and isinstance(value, (list, tuple)):
        value = [str(code) if isinstance(code, int) and not isinstance(code, bool) else code for code in value]
    found = list(check_type({"size": "str", "path": "str"}.get(of_type, of_type), {}, value))
    if not found and not isinstance(value, dict):  # of an environment, the writer of files says it better
        found = list(check_characters(value, ascii_only=name not in ("command", "directory")))
    if not found and name in ("stdout_logfile", "stderr_logfile") and is_below(value, *READ_ONLY_DIRECTORIES):
        found = [
            f"systemd keeps {is_below(value, *READ_ONLY_DIRECTORIES)} read-only for supervisor. Write a file below /var/log."
        ]
    yield from found


@between
def _names_of_programs(values: Values) -> Iterator[tuple[str, str]]:
    programs, listeners = values["supervisor_programs"], values["supervisor_listeners"]
    for text in program_settings.collisions(programs, listeners):
        yield ("supervisor_programs" if programs else "supervisor_listeners"), f"has a name twice: {text}"


@between
def _program_or_app(values: Values) -> Iterator[tuple[str, str]]:
    app = values["flask_app_name"]
    for variable in ("supervisor_programs", "supervisor_listeners"):
        for entry in values[variable]:
            for name in {entry["name"], entry.get("group")}.intersection({app, f"{app}-memory"}):
                yield variable, f"has {name}, a name that the app {app} needs in supervisor. Choose another."


@between
def _time_to_stop_programs(values: Values) -> Iterator[tuple[str, str]]:
    patience = values["supervisor_stop_timeout"]
    for variable in ("supervisor_programs", "supervisor_listeners"):
        for entry in values[variable]:
            if int(entry.get("stopwaitsecs", 0)) >= patience:
                yield (
                    variable,
                    f"gives {entry['name']} {entry['stopwaitsecs']} s to stop (stopwaitsecs), and supervisor_stop_timeout is"
                    f" {patience} s: systemd would end supervisord before. Raise supervisor_stop_timeout.",
                )


@between
def _limit_of_descriptors(values: Values) -> Iterator[tuple[str, str]]:
    limit = str(values["supervisor_unit_options"].get("LimitNOFILE", "")).rpartition(":")[2]
    if limit.isdigit() and int(limit) < values["supervisor_minfds"]:
        yield (
            "supervisor_unit_options",
            f"sets LimitNOFILE to {limit}, below supervisor_minfds ({values['supervisor_minfds']}): supervisord would not start."
            " Raise the one, or lower the other.",
        )


@between
def _page(values: Values) -> Iterator[tuple[str, str]]:
    if not values["supervisor_http_enabled"]:
        return
    if not values["supervisor_http_user"]:
        yield "supervisor_http_user", "is empty, and supervisor_http_enabled is true. Name a user; there is no default."
    if not values["supervisor_http_password"]:
        yield (
            "supervisor_http_password",
            "is empty, and supervisor_http_enabled is true. Choose one of 16 characters or more and keep it in ansible-vault;"
            " there is no default.",
        )


@between
def _public_page(values: Values) -> Iterator[tuple[str, str]]:
    bind = values["supervisor_http_bind"]
    if values["supervisor_http_enabled"] and not parse_ip(bind).is_loopback and not values["supervisor_http_public"]:
        yield (
            "supervisor_http_bind",
            f"is {shown(bind)}: other machines could reach the page, which speaks plain HTTP and starts and stops programs."
            " Leave it at 127.0.0.1 and use an SSH tunnel, or set supervisor_http_public to true.",
        )
