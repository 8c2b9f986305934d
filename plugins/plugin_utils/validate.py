# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the variables of the roles mean, checked before anything is changed.

The argument specs say of what type a variable is. Here stands what it must be beyond that: safe as a name, inside the
right directory, in agreement with the others. Everything that is wrong is found at once.

A rule is a generator. One that belongs to a variable takes its value and yields what is wrong with it; one that belongs to
several takes all values and yields pairs of a variable and what is wrong. A text says what is wrong and what to do.
"""

from __future__ import annotations

import ast
import difflib
import ipaddress
import keyword
import re
import typing as t
from collections.abc import Callable, Iterator

from ..module_utils import build_account, program_conf
from .gunicorn_settings import COMMAND_LINE, SETTINGS
from .gunicorn_settings import VERSION as GUNICORN
from .systemd_service import DIRECTIVES
from .text import foreign, shown, unseen

#: Seconds that supervisor waits beyond gunicorn's graceful timeout (the program's stopwaitsecs).
STOP_MARGIN = 10
#: Bytes of one NAME=value that Linux hands to a program (MAX_ARG_STRLEN, less the NUL).
_ENVIRONMENT_ENTRY = 128 * 1024 - 1
#: Bytes of all of them that are certain to fit beside the arguments.
_ENVIRONMENT = 1024 * 1024
#: Bytes of a unix socket's path that Linux can hold.
_SOCKET_PATH = 107
#: Megabytes that a gunicorn worker with an app of no size takes (a Flask app of a few lines, measured).
_EMPTY_WORKER = 25

# What other programs on a Debian host are called: their users, and their directories in /run and /var/log.
_USERS = frozenset(
    """
    root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody _apt adm tty disk
    sudo staff users shadow utmp sshd messagebus polkitd syslog tcpdump postgres redis mysql rabbitmq nginx postfix ntp
    """.split()
)
_TAKEN = _USERS | frozenset(
    """
    supervisor supervisord pygun systemd lock user uv all apt journal private dbus udev mount network credentials sshd
    initctl log shm screen docker containerd podman postgresql mysqld mariadb nginx apache2 redis chrony cron sudo lvm
    crond installer unattended-upgrades runit sysstat resolvconf
    """.split()
)
# Directories that belong to the system or to everybody, none of which can be one app's own.
_SYSTEM = frozenset(
    """
    / /bin /boot /dev /efi /etc /home /lib /lib64 /media /mnt /opt /proc /root /run /sbin /srv /sys /tmp /usr /usr/bin
    /usr/lib /usr/local /usr/local/bin /usr/local/lib /usr/sbin /usr/share /var /var/backups /var/cache /var/lib
    /var/local /var/lock /var/log /var/mail /var/opt /var/run /var/spool /var/tmp /var/www
    """.split()
)
_NOT_ON_DISK = ("/dev", "/proc", "/sys", "/run", "/var/run", "/tmp", "/var/tmp")  # noqa: S108
_READ_ONLY = ("/boot", "/efi", "/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64")  # under ProtectSystem=full

# Text that may hold any character that can be written into a file.
_FREE = {"flask_app_env", "flask_app_pygun_extra", "supervisor_listeners", "supervisor_programs"}
# Names on the control node, or shown to people: any letter of any language.
_ANY_LETTER = {
    "flask_app_deployed_by",
    "flask_app_exclude",
    "flask_app_git_repo",
    "flask_app_gunicorn",
    "flask_app_requirements",
    "flask_app_src",
    "python_wheelhouse",
    "load_balancer_certificates",
    "load_balancer_stats_password",
    "supervisor_http_password",
}

# What Ansible takes for a boolean.
_YES = {"y", "yes", "on", "1", "true", "t"}
_NO = {"n", "no", "off", "0", "false", "f"}

# Variables whose defaults are made of another one.
_MADE_OF = {
    "flask_app_user": ("flask_app_name", "{}"),
    "flask_app_group": ("flask_app_user", "{}"),
    "flask_app_log_dir": ("flask_app_name", "/var/log/{}"),
}

Rule = Callable[[t.Any], Iterator[str]]
_RULES: dict[str, Rule] = {}
_BETWEEN: list[Callable[[Values], Iterator[tuple[str, str]]]] = []


class Report:
    """What was found: ``problems`` forbid the run, ``warnings`` do not. Both are pairs of a variable and what follows it."""

    def __init__(self) -> None:
        self.problems: list[tuple[str, str]] = []
        self.warnings: list[tuple[str, str]] = []

    def text(self, role: str) -> str:
        """All problems, as a person reads them."""
        count = len(self.problems)
        lines = [f"{'A variable' if count == 1 else f'{count} variables'} of pygun.stack.{role} cannot be used:"]
        if count > 1 and len({name for name, _text in self.problems}) != count:
            lines = [f"{count} things are wrong with the variables of pygun.stack.{role}:"]
        lines += [f"- {name}{text}" for name, text in self.problems]
        return "\n".join([*lines, "Nothing was changed."])


class Unusable(Exception):
    """A rule asked for a variable that is not there, or is wrong by itself."""


class Values:
    """The variables that are right by themselves, as the roles will read them."""

    def __init__(self, values: dict[str, t.Any]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> t.Any:
        try:
            return self._values[name]
        except KeyError:
            raise Unusable(name) from None

    def gunicorn(self, setting: str, variable: str) -> tuple[str, t.Any]:
        """A setting of gunicorn as it will be, and the variable that says so."""
        given = self["flask_app_gunicorn"]
        if setting in given:
            value = given[setting]
            return f"flask_app_gunicorn.{setting}", int(value, 0) if isinstance(value, str) else value
        return variable, self[variable]


def rule(*variables: str) -> Callable[[Rule], Rule]:
    """Register a rule about one variable (the same one for each of those named)."""

    def register(function: Rule) -> Rule:
        for name in variables:
            _RULES[name] = function
        return function

    return register


def between(function: Callable[[Values], Iterator[tuple[str, str]]]) -> Callable:
    """Register a rule about several variables."""
    _BETWEEN.append(function)
    return function


def check(options: dict[str, dict], values: dict[str, t.Any], memory_mb: int = 0) -> Report:
    """Check the variables of roles.

    :param options: what the argument specs say of each variable
    :param values: the variables that are defined, with nothing left to template
    :param memory_mb: the host's memory, if it is known
    """
    report = Report()
    good = {}
    for name, option in options.items():
        if name not in values:
            if option.get("required"):
                report.problems.append((name, " is not set. It has no default: set it."))
            continue
        found = list(_alone(name, option, values[name]))
        if found and _follows(name, values, good):
            continue
        if found:
            secret = option.get("no_log") or name in ("flask_app_env", "flask_app_gunicorn", "flask_app_pygun_extra")
            subject = "" if secret or isinstance(values[name], (list, dict)) else f" is {shown(values[name])}"
            report.problems += [(name, f"{subject}: {text}") for text in found]
        else:
            good[name] = typed(option, values[name])
    usable = Values(good)
    for function in _BETWEEN:
        try:
            report.problems += [(name, f" {text}") for name, text in function(usable)]
        except Unusable:
            pass
    report.problems = list(dict.fromkeys(report.problems))
    report.warnings += [(name, f" {text}") for name, text in _suspicions(usable, memory_mb)]
    return report


def misspelt(options: dict[str, dict], names: t.Iterable[str]) -> Iterator[tuple[str, str]]:
    """Variables that are nobody's but look as if one of the roles' was meant."""
    helpers = {  # of the playbooks
        "flask_app_drain_timeout",
        "flask_app_hosts",
        "flask_app_max_fail_percentage",
        "flask_app_reboot",
        "flask_app_reboot_timeout",
        "flask_app_release",
        "flask_app_serial",
        "load_balancer_address",
        "load_balancer_hosts",
    }
    for name in sorted(names):
        if (
            name not in options
            and name not in helpers
            and name.startswith(("flask_app_", "load_balancer_", "supervisor_", "python_"))
        ):
            near = difflib.get_close_matches(name, options, 1, 0.93 if name.startswith("python_") else 0.88)
            if near:
                yield name, f" is no variable of these roles and has no effect; is {near[0]} meant?"


def _follows(name: str, values: dict[str, t.Any], good: dict[str, t.Any]) -> bool:
    """Whether a variable is wrong only because the one that its default is made of is."""
    if name not in _MADE_OF:
        return False
    source, pattern = _MADE_OF[name]
    return source in values and source not in good and values[name] == pattern.format(values[source])


def follows_from_nothing(name: str, option: dict, template: t.Any, values: dict[str, t.Any]) -> bool:
    """Whether a variable cannot be worked out only because the one that its default is made of is not there.

    :param template: what it is made of
    :param values: the variables that could be worked out
    """
    return name in _MADE_OF and _MADE_OF[name][0] not in values and template == option["default"]


# --- one variable ---------------------------------------------------------------------------------------------------


def typed(option: dict, value: t.Any) -> t.Any:
    """A value as its type, once that is known to be possible: ``-e name=2`` gives a text."""
    kind = option.get("type", "str")
    if kind == "int":
        return int(value)
    if kind == "bool":
        return str(value).lower() in _YES
    if kind == "str":
        return str(value)
    return value


def _alone(name: str, option: dict, value: t.Any) -> Iterator[str]:
    """What is wrong with a value by itself: its type, then its characters, then its meaning."""
    kind = option.get("type", "str")
    found = list(_characters(value, ascii_only=True)) if kind in ("int", "bool") and isinstance(value, str) else []
    found = found or list(_of_type(kind, option, value))
    if not found and name not in _FREE:
        found = list(_characters(value, ascii_only=name not in _ANY_LETTER))
    if not found and kind == "path" and value:
        found = list(_host_path(value))
    if not found and name in _RULES:
        found = list(_RULES[name](typed(option, value)))
    yield from found


def _of_type(kind: str, option: dict, value: t.Any) -> Iterator[str]:
    if value is None:
        yield "it has no value (YAML's null). Give it one, or take the line out to get the default."
    elif kind in ("str", "path") and not isinstance(value, str):
        nought = value == 0 and isinstance(value, int) and not isinstance(value, bool)  # as sizes are
        if not (kind == "str" and nought and "choices" not in option):
            yield (
                f"YAML took it for {_yaml_kind(value)}, which changes how it is written. Put the value in quotes."
                if not isinstance(value, (list, dict))
                else f"a text is expected, and this is {_yaml_kind(value)}. Write one value."
            )
    elif kind == "int":
        if isinstance(value, bool) or not re.fullmatch(r"\s*[+-]?\d+\s*", str(value), re.ASCII):
            yield "write a whole number, without a unit."
    elif kind == "bool":
        if str(value).lower() not in _YES | _NO:
            yield "it is not a yes or no. Write true or false."
    elif kind == "list":
        if not isinstance(value, (list, tuple)):
            yield f"a list is expected, and this is {_yaml_kind(value)}. Write each entry on a line of its own, after a dash."
        else:
            for number, entry in enumerate(value, 1):
                if option.get("elements") == "dict":
                    if not isinstance(entry, dict):
                        yield f"entry {number} is {_yaml_kind(entry)}. Write its settings on lines NAME: VALUE."
                elif not isinstance(entry, str):
                    yield f"entry {number} is {_yaml_kind(entry)}, a text is expected. Put it in quotes."
                elif not entry.strip():
                    yield f"entry {number} is empty. Take it out."
    elif kind == "dict":
        if not isinstance(value, dict):
            yield f"names with values are expected, and this is {_yaml_kind(value)}. Write a line NAME: VALUE for each."
        else:
            for key in value:
                if not isinstance(key, str):
                    yield f"the name {shown(key)} is {_yaml_kind(key)}. Put it in quotes."
    for entry in value if isinstance(value, (list, tuple)) else [value]:
        if "choices" in option and isinstance(entry, str) and entry not in option["choices"]:
            near = difflib.get_close_matches(entry, option["choices"], 1)
            subject = "" if entry is value else f"{shown(entry)} is no choice: "
            yield f"{subject}write one of {', '.join(option['choices'])}{f'; is {near[0]} meant?' if near else '.'}"


def _yaml_kind(value: t.Any) -> str:
    kinds = {
        bool: "a yes or no",
        int: "a number",
        float: "a number",
        dict: "a dictionary",
        list: "a list",
        str: "one text",
    }
    for kind, name in kinds.items():
        if isinstance(value, kind):
            return name
    return "nothing" if value is None else f"a {type(value).__name__.strip('_').removeprefix('AnsibleTagged').lower()}"


def _characters(value: t.Any, ascii_only: bool, where: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, entry in value.items():
            found = list(_characters(key, True, f"the name {shown(key)}: "))
            yield from found or _characters(entry, ascii_only, f"{where}{key}: ")
    elif isinstance(value, (list, tuple)):
        for number, entry in enumerate(value, 1):
            yield from _characters(entry, ascii_only, f"{where}entry {number}: ")
    elif isinstance(value, str):
        found = unseen(value)
        if found:
            yield where + _unseen_text(found)
        elif ascii_only and foreign(value):
            yield f"{where}{foreign(value)} is no ASCII character. Type it again."


def _unseen_text(found: list[str]) -> str:
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    remedy = "Type the value again instead of pasting it."
    if "CARRIAGE RETURN" in found[0]:
        remedy = "It comes from a file with Windows line ends: save that file with LF line ends."
    elif "LINE FEED" in found[0]:
        remedy = "Write it on one line; in YAML `>-` in the place of `|` joins lines and drops the last line end."
    return f"it holds a character that cannot be seen ({found[0]}{more}). {remedy}"


def _host_path(value: str) -> Iterator[str]:
    """Paths stand in ini files, units and #! lines, none of which can hold every character."""
    if not value.startswith("/"):
        yield "it is not absolute. Begin it with /; ~ and $VARIABLES are not looked at."
    elif any(part in ("", ".", "..") for part in value[1:].split("/")) and value != "/":
        yield "it has a part that is empty, . or ... Write the plain path, without a slash at its end."
    elif not re.fullmatch(r"[A-Za-z0-9/._+@-]+", value):
        odd = re.sub(r"[A-Za-z0-9/._+@-]", "", value)[0]
        yield (
            f"it holds {shown(odd)}. supervisor, systemd and the #! lines of virtual environments each read some characters"
            " in a way of their own: use letters, digits and . _ + @ - only."
        )
    elif any(part.startswith("-") for part in value.split("/")):
        yield "a part of it begins with a dash, which programs take for an option. Choose another name."
    elif len(value) > 200:
        yield "it is longer than 200 characters. Choose a shorter one."


def _below(path: str, *folders: str) -> str:
    return next((folder for folder in folders if path == folder or path.startswith(folder.rstrip("/") + "/")), "")


def _number(least: int, most: int, unit: str = "") -> Rule:
    def within(value: int) -> Iterator[str]:
        if not least <= value <= most:
            yield f"write a number from {least} to {most}{f' ({unit})' if unit else ''}."

    return within


_RANGES = {
    "flask_app_backlog": (1, 65535, "connections"),
    "flask_app_instances": (1, 64, ""),
    "flask_app_workers": (0, 512, "0 counts the processors"),
    "flask_app_workers_max": (1, 512, ""),
    "flask_app_worker_connections": (1, 65535, ""),
    "flask_app_threads": (1, 1000, ""),
    "flask_app_timeout": (0, 86400, "seconds"),
    "flask_app_graceful_timeout": (1, 86400, "seconds"),
    "flask_app_keepalive": (0, 3600, "seconds"),
    "flask_app_max_requests": (0, 10**9, "0 is never"),
    "flask_app_max_requests_jitter": (0, 10**9, ""),
    "flask_app_boot_timeout": (1, 3600, "seconds"),
    "flask_app_log_backups": (0, 1000, "files"),
    "flask_app_log_max_age": (0, 3650, "days; 0 is no limit"),
    "flask_app_keep_releases": (2, 1000, "the current one, and one to go back to, at least"),
    "supervisor_log_backups": (0, 1000, "files"),
    # A log is written to for up to a second after it was renamed, and compressed at the next rotation.
    "supervisor_logrotate_interval": (2, 86400, "seconds"),
    "supervisor_minfds": (256, 1048576, "file descriptors"),
    "supervisor_stop_timeout": (STOP_MARGIN + 2, 86400, "seconds"),
    "supervisor_http_port": (1, 65535, ""),
    "load_balancer_timeout_connect": (1, 300, "seconds"),
    "load_balancer_timeout_client": (1, 86400, "seconds"),
    "load_balancer_timeout_server": (1, 86400, "seconds"),
    "load_balancer_timeout_queue": (1, 3600, "seconds"),
    "load_balancer_timeout_request": (1, 300, "seconds"),
    "load_balancer_timeout_keepalive": (1, 300, "seconds"),
    "load_balancer_timeout_tunnel": (1, 604800, "seconds"),
    "load_balancer_stop_timeout": (1, 86400, "seconds"),
    "load_balancer_max_connections": (0, 10**7, "0 lets HAProxy work it out"),
    "load_balancer_check_interval": (1, 3600, "seconds"),
    "load_balancer_check_fall": (1, 100, "checks"),
    "load_balancer_check_rise": (1, 100, "checks"),
}
for _name, _range in _RANGES.items():
    _RULES[_name] = _number(*_range)


@rule("flask_app_name")
def _app_name(value: str) -> Iterator[str]:
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", value):
        yield (
            "it names a user, directories, units and a program. Write lower-case letters, digits, - and _, beginning with a"
            " letter, 31 characters at most."
        )
    elif value in _TAKEN or value.startswith(("systemd-", "pygun-")):
        yield "the system or a service of Debian's has that name. Choose another."


@rule("flask_app_user", "flask_app_group")
def _account(value: str) -> Iterator[str]:
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", value):
        yield "write lower-case letters, digits, - and _, beginning with a letter, 31 characters at most."
    elif value == "root":
        yield "the app would run with root's rights. Choose another, or leave it out: the app gets one of its own."
    elif build_account.is_name(value):
        yield "the accounts that install packages are called so. Choose another, or leave it out: the app gets one of its own."


@rule("flask_app_git_ref")
def _git_ref(value: str) -> Iterator[str]:
    if not value:
        yield "write a branch, a tag or a commit, or HEAD for the default branch."
    elif value.startswith("-") or re.search(r"[\s:?*\[\\^~]|\.\.|@\{|\.lock$|/$|^/|//", value):
        yield "git allows no such name for a branch, a tag or a commit. Correct it."


@rule("flask_app_git_repo")
def _git_repo(value: str) -> Iterator[str]:
    if value.startswith("-") or " " in value or "::" in value:
        yield "that is no address of a repository. Write one such as https://host/team/app.git or git@host:team/app.git."


@rule("flask_app_packages", "flask_app_server_packages", "flask_app_overrides")
def _requirements(values: list[str]) -> Iterator[str]:
    for value in values:
        text = value.strip()
        if text.startswith("-"):
            yield f"{shown(value)} is an option of the installer. Put it into python_extra_args."
        elif "://" in text or text.startswith("/"):
            if " " in text.partition(";")[0].partition(" @ ")[2 if " @ " in text else 0]:
                yield f"{shown(value)} holds a space within an address. Write it as %20."
        elif not re.fullmatch(
            r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\s*(\[[A-Za-z0-9._,\s-]*\])?\s*"
            r"((===|[=!<>~]=|[<>])\s*[A-Za-z0-9.*+!_-]+\s*(,\s*(===|[=!<>~]=|[<>])\s*[A-Za-z0-9.*+!_-]+\s*)*)?(;.*)?",
            text,
        ):
            hint = " (two equals signs)" if re.search(r"[^=!<>~]=[^=]", text) else ""
            yield f"{shown(value)} is no requirement. Write it as NAME or NAME==VERSION{hint}, such as flask==3.1.2."


@rule("python_uv_version", "supervisor_superlance_version", "supervisor_version")
def _version(value: str) -> Iterator[str]:
    if not re.fullmatch(r"\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?", value):
        yield "write a plain version such as 4.3.0, without an operator or a v."


@rule("flask_app_wsgi")
def _wsgi(value: str) -> Iterator[str]:
    module, colon, target = value.partition(":")
    example = "Write MODULE:ATTRIBUTE such as wsgi:app, or MODULE:FACTORY() such as scoring:create_app()."
    if module.endswith(".py") or "/" in module:
        plain = module.removesuffix(".py").strip("/").replace("/", ".")
        yield f"it names a file, and a module is expected. Write {plain}:{target or 'app'}."
    elif not colon or not target:
        yield f"it does not say which attribute of the module is the app. {example}"
    elif not all(part.isidentifier() and not keyword.iskeyword(part) for part in module.split(".")):
        yield f"{shown(module)} cannot be imported: that is no name of a Python module. {example}"
    else:
        yield from (f"{text} {example}" for text in _wsgi_target(target))


def _wsgi_target(target: str) -> Iterator[str]:
    """What gunicorn makes of the part behind the colon: a name, or a call of a name with literals."""
    try:
        expression = ast.parse(target, mode="eval").body
    except (SyntaxError, ValueError):
        yield f"{shown(target)} is no Python."
        return
    if isinstance(expression, ast.Call):
        try:
            for argument in (*expression.args, *(keyword.value for keyword in expression.keywords)):
                ast.literal_eval(argument)
        except ValueError:
            yield f"{shown(target)}: a factory takes literal arguments only."
            return
        expression = expression.func
    if not isinstance(expression, ast.Name) or keyword.iskeyword(target):
        yield f"{shown(target)} is neither a name nor a call of one."


@rule("flask_app_bind")
def _bind(value: str) -> Iterator[str]:
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
    elif not colon or (_ip(value) is not None and _ip(value).version == 6):
        yield f"it has no port. {example}"
    elif not re.fullmatch(r"[1-9]\d{0,4}", port) or int(port) > 65535:
        yield f"{shown(port)} is no port; one is between 1 and 65535. {example}"
    elif host in ("", "*"):
        yield f"it has no address. Write 0.0.0.0:{port} for every address of the host, or 127.0.0.1:{port} for itself."
    elif host == "localhost":
        yield f"a name is looked up, and may be looked up differently tomorrow. Write 127.0.0.1:{port}."
    elif _ip(host.removeprefix("[").removesuffix("]")) is None:
        yield f"{shown(host)} is no IP address. {example}"
    elif (_ip(host.strip("[]")).version == 6) != (host.startswith("[") and host.endswith("]")):
        yield f"an IPv6 address stands in brackets, an IPv4 address does not. {example}"
    elif "%" in host:
        yield "an address with a zone works on one network card only. Write an address without %."


def collide(one: str, other: str) -> bool:
    """Whether two apps cannot both listen on these values of ``flask_app_bind``."""
    if one.startswith("unix:") or other.startswith("unix:"):
        return one == other
    (host, _colon, port), (other_host, _colon, other_port) = one.rpartition(":"), other.rpartition(":")
    first, second = _ip(host.strip("[]")), _ip(other_host.strip("[]"))
    if port != other_port or first is None or second is None:
        return False
    if first.version != second.version:  # [::] takes the port of IPv4 too
        return any(address.version == 6 and address.is_unspecified for address in (first, second))
    return first == second or first.is_unspecified or second.is_unspecified


def _ip(text: str) -> t.Any:
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


@rule("supervisor_umask")
def _umask(value: str) -> Iterator[str]:
    if not re.fullmatch(r"0?[0-7]{3}", value):
        yield 'write three octal digits in quotes, such as "022".'
    elif int(value, 8) & 0o700:
        yield 'owners could not use what they make. Let the first digit be 0, as in "022".'


@rule("flask_app_log_maxbytes", "supervisor_log_maxbytes")
def _size(value: t.Any) -> Iterator[str]:
    match = re.fullmatch(r"(\d+)\s*([A-Za-z]*)", str(value))
    if not match or match.group(2).upper() not in ("", "KB", "MB", "GB") or " " in str(value):
        unit = match.group(2)[:1].upper() if match else ""
        hint = f", as in {match.group(1)}{unit}B" if match and unit in ("K", "M", "G") else ", such as 50MB"
        yield f"write bytes, or a number followed by KB, MB or GB without a space{hint}."


@rule("flask_app_log_redact")
def _redacted_names(values: list[str]) -> Iterator[str]:
    for value in values:
        if not value or re.search(r"[\s=&;?#]", value):
            yield f"{shown(value)} is no name. Write that of a query parameter or of a variable, such as token."


@rule("flask_app_log_to")
def _log_to(values: list[str]) -> Iterator[str]:
    if not values:
        yield "the log would go nowhere. Write file, journald or syslog, or several."


@rule("flask_app_worker_class")
def _worker_class(value: str) -> Iterator[str]:
    known = ("gevent", "sync", "gthread", "tornado", "asgi")
    if value in ("gevent_wsgi", "gevent_pywsgi", "eventlet"):
        yield f"gunicorn {GUNICORN} does not serve with it reliably or at all. Write gevent."
    elif value not in known and not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", value):
        near = difflib.get_close_matches(value, known, 1)
        yield f"write one of {', '.join(known)}, or module.Class{f'; is {near[0]} meant?' if near else '.'}"


@rule("flask_app_health_path")
def _health_path(value: str) -> Iterator[str]:
    if "://" in value:
        yield "it is a whole address. Write the path alone, such as /healthz."
    elif value and (not value.startswith("/") or re.search(r"[\s#]", value)):
        yield "write a path that begins with / and has no space and no #, such as /healthz."


@rule("flask_app_pygun_extra")
def _pygun_extra(value: str) -> Iterator[str]:
    text = value.replace("\r\n", "\n")
    try:
        tree = ast.parse(text, "flask_app_pygun_extra")
        text.encode()
    except SyntaxError as error:
        yield f"line {error.lineno}: {error.msg}. It goes into pygun.py as it is: write Python."
        return
    except ValueError as error:  # NUL, or a character that cannot be written
        yield f"it cannot be written into a file of Python: {error}. Correct it."
        return
    for statement in tree.body:
        for name in _assigned(statement):
            if name in _NOT_YOURS or name in _OF_SUPERVISOR:
                yield f"line {statement.lineno} sets {name}: {_NOT_YOURS.get(name) or _OF_SUPERVISOR[name]}"
            elif name == "runtime":
                yield f"line {statement.lineno} takes the name runtime, which pygun.py needs. Choose another."


def _assigned(statement: ast.stmt) -> Iterator[str]:
    targets = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, (ast.AnnAssign, ast.AugAssign)):
        targets = [statement.target]
    for target in targets:
        yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))


@rule("flask_app_exclude")
def _exclude(values: list[str]) -> Iterator[str]:
    for value in values:
        if value.startswith(("/", "./", "../")) or "/../" in value:
            yield f"{shown(value)} matches nothing. Write a name, or a path relative to the source without ./ before it."
        elif value in ("*", "**", "*.py"):
            yield f"{shown(value)} would leave nothing to run. Take it out."


@rule("python_index_url")
def _index_url(value: str) -> Iterator[str]:
    if value and not re.fullmatch(r"(https?|file)://\S+", value):
        yield "write the whole address of the index, such as https://packages.example.com/simple."
    elif value and re.fullmatch(r"https?://(\S*@)?", value):
        yield "it names no host. Write the whole address, such as https://packages.example.com/simple."


@rule("python_wheelhouse")
def _wheelhouse(value: str) -> Iterator[str]:
    if value and not value.startswith("/"):
        yield 'it is looked up on the control node, by every playbook alike. Make it absolute, as in "{{ inventory_dir }}/wheelhouse".'


@rule("python_wheelhouse_target")
def _wheelhouse_target(value: str) -> Iterator[str]:
    if value and not re.fullmatch(r"3\.\d+(\.\d+)?-manylinux_2_\d+_[a-z0-9_]+", value):
        yield "write a Python and a platform, such as 3.11-manylinux_2_36_x86_64."


@rule("python_extra_args")
def _extra_args(values: list[str]) -> Iterator[str]:
    own = {
        "--index-url": "python_index_url",
        "-i": "python_index_url",
        "--default-index": "python_index_url",
        "--cert": "python_ca_bundle",
        "--cache-dir": "python_cache_dir",
        "--python": "python_interpreter",
    }
    for value in values:
        option = re.split(r"[=\s]", value)[0]
        if option in own:
            yield f"{shown(value)} has a variable of its own. Set {own[option]}."
        elif option in ("--target", "-t", "--prefix", "--user", "--root", "--system", "-r", "--requirement"):
            yield f"{shown(value)} would install somewhere or something else than the role expects. Take it out."
        elif value.startswith("-") and " " in value:
            yield f"{shown(value)} is one argument with a space in it. Write two entries, or OPTION=VALUE."


@rule("supervisor_socket")
def _supervisor_socket(value: str) -> Iterator[str]:
    if not re.fullmatch(r"/run/supervisor/[A-Za-z0-9._-]+", value):
        yield "write a file directly in /run/supervisor, the directory that systemd makes for the unit."
    elif value == "/run/supervisor/supervisord.pid":
        yield "supervisord's pid file has that name. Write /run/supervisor/supervisor.sock."


@rule("supervisor_ctl_link")
def _ctl_link(value: str) -> Iterator[str]:
    if value:
        yield from _host_path(value)
        if value in _SYSTEM:
            yield "that is a directory. Write the path of the link, such as /usr/local/bin/supervisorctl."


@rule("supervisor_http_user")
def _http_user(value: str) -> Iterator[str]:
    if re.search(r"[:%\s]", value):
        yield "neither a colon, a percent sign nor a space can be in it. Choose another."


@rule("supervisor_http_password")
def _http_password(value: str) -> Iterator[str]:
    if value and len(value) < 8:
        yield "it is shorter than 8 characters. Choose a longer one, and keep it in ansible-vault."
    elif value.lower() in ("password", "supervisor", "supervisord", "changeme", "12345678", "123456789", "qwertyui"):
        yield "it is among the first that anybody tries. Choose another, and keep it in ansible-vault."


@rule("supervisor_http_bind")
def _http_bind(value: str) -> Iterator[str]:
    address = _ip(value)
    if address is None or address.version != 4:
        yield "write an IPv4 address without a port; the port is supervisor_http_port."


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
            yield f"{name} is {_yaml_kind(value)}. Write its values in one text, with spaces between them."
        elif isinstance(value, str) and value.endswith("\\"):
            yield f"{name} ends with a backslash, by which systemd would join the next line to it. Take it out."


@rule("flask_app_env")
def _environment(values: dict[str, t.Any]) -> Iterator[str]:
    total = 0
    for name, value in values.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            odd = f" ({(unseen(name) or [foreign(name)])[0]})" if unseen(name) or foreign(name) else ""
            yield f"{shown(name)} is no name of a variable{odd}. Write letters, digits and _, not beginning with a digit."
        elif re.match(r"PYGUN_|SUPERVISOR_|LISTEN_|GUNICORN_(?!CMD_ARGS)|NOTIFY_SOCKET$", name):
            yield f"{name} is used between systemd, supervisor and gunicorn. Choose another name."
        elif name in ("GUNICORN_CMD_ARGS", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"):
            meant = {
                "WEB_CONCURRENCY": "flask_app_workers",
                "FORWARDED_ALLOW_IPS": "flask_app_gunicorn: {forwarded_allow_ips: ...}",
            }
            yield f"{name} is read by gunicorn before this file is. Use {meant.get(name, 'flask_app_gunicorn')}."
        elif value is None:
            yield f'{name} has no value (YAML\'s null). Write "" for an empty one.'
        elif isinstance(value, bool):
            yield f'{name} is a yes or no, and the app would read the text "{value}". Put in quotes what it shall read.'
        elif isinstance(value, (list, dict)):
            yield f"{name} is {_yaml_kind(value)}, and a variable of the environment is a text. Write one; `| to_json` makes it."
        else:
            text = str(value)
            total += len(name) + 2 + len(text.encode(errors="replace"))
            yield from (f"the value of {name} {wrong}" for wrong in _environment_text(name, text))
    if total > _ENVIRONMENT:
        yield f"together they take {total} bytes; a process with so many could start no program. Put big data into files."


def _environment_text(name: str, text: str) -> Iterator[str]:
    """Any text may be meant; but nobody means a character at its beginning or end that cannot be seen."""
    if "\0" in text:
        yield "holds a NUL (U+0000), which no environment can hold. Encode it, for example in base64."
    elif any("\ud800" <= character <= "\udfff" for character in text):
        yield "holds half of a surrogate pair, which UTF-8 cannot write. Type it again."
    elif len(name) + 1 + len(text.encode()) > _ENVIRONMENT_ENTRY:
        yield "is longer than 128 KiB; a process with it could start no program. Put it into a file, and its path here."
    else:
        edges = [edge for edge in (text[:1], text[-1:]) if edge and unseen(edge, "\n\t")]
        if edges:
            yield (
                f"begins or ends with a character that cannot be seen ({unseen(edges[0], allowed=chr(9) + chr(10))[0].partition(': ')[2]})."
                " Type it again instead of pasting it; a file with Windows line ends has a U+000D at every end."
            )


# --- the load balancer ----------------------------------------------------------------------------------------------


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
            yield from (f"{key}: {text}" for text in _of_type(SERVICE[key], option, value))
    for key in ("name", "bind"):
        if key not in service:
            yield f"{key} is missing. It has no default: set it."


def _service(service: dict[str, t.Any]) -> Iterator[str]:
    """What is wrong with one service by itself."""
    for key in ("bind", "redirect_bind"):
        value = service.get(key, "")
        if value.startswith("unix:"):
            yield f"{key} {shown(value)}: write an address and a port such as 0.0.0.0:443."
        elif value or key == "bind":
            yield from (f"{key} {shown(value)}: {text}" for text in _bind(value))
    if not 0 <= int(service.get("port", 0)) <= 65535:
        yield f"port {service['port']}: write a number from 1 to 65535, or 0 to take it from flask_app_bind."
    if not re.fullmatch(r"[A-Za-z0-9._-]+", service.get("group", "api")):
        yield f"group {shown(service['group'])}: that is no name of a group."
    yield from (f"health_path: {text}" for text in _health_path(service.get("health_path", "")))
    if not re.fullmatch(r"[A-Za-z0-9.:_\[\]-]+", service.get("health_host", "localhost")):
        yield f"health_host {shown(service['health_host'])}: write a host name, without a scheme or a path."
    for path in service.get("certificates", ()):
        yield from (f"certificates {shown(path)}: {text}" for text in _host_path(path))
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
            yield f"{shown(value)}: HAProxy could not be told of a file of that name. Use letters, digits and . _ - only."
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
        yield from _bind(value)


@rule("load_balancer_stats_user")
def _stats_user(value: str) -> Iterator[str]:
    if not re.fullmatch(r"[A-Za-z0-9._-]*", value):
        yield "write letters, digits and . _ - only."


@rule("load_balancer_stats_password")
def _stats_password(value: str) -> Iterator[str]:
    yield from _http_password(value)
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


# --- programs of any kind -------------------------------------------------------------------------------------------


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
            yield f"the name {shown(name)} is {_yaml_kind(name)}. Put it in quotes."
            continue
        found = list(_characters(name, True, f"the name {shown(name)}: ")) or list(program_conf.unknown(kind, [name]))
        if not found:
            found = [f"{name}: {text}" for text in _setting_of_program(kind, name, value)]
        yield from found
        if not found:
            right[name] = typed({"type": program_conf.SETTINGS[kind][name]}, value)
    missing = {*program_conf.REQUIRED[kind]}.intersection(entry) - set(right)
    for text in program_conf.problems(kind, right):
        if not text.startswith(tuple(f"{name} is missing" for name in missing)):
            yield text


def _setting_of_program(kind: str, name: str, value: t.Any) -> Iterator[str]:
    of_type = program_conf.SETTINGS[kind][name]
    if (of_type == "size" and isinstance(value, int)) or (name == "autorestart" and isinstance(value, bool)):
        return
    if name == "exitcodes" and isinstance(value, (list, tuple)):
        value = [str(code) if isinstance(code, int) and not isinstance(code, bool) else code for code in value]
    found = list(_of_type({"size": "str", "path": "str"}.get(of_type, of_type), {}, value))
    if not found and not isinstance(value, dict):  # of an environment, the writer of files says it better
        found = list(_characters(value, ascii_only=name not in ("command", "directory")))
    if not found and name in ("stdout_logfile", "stderr_logfile") and _below(value, *_READ_ONLY):
        found = [f"systemd keeps {_below(value, *_READ_ONLY)} read-only for supervisor. Write a file below /var/log."]
    yield from found


@between
def _names_of_programs(values: Values) -> Iterator[tuple[str, str]]:
    programs, listeners = values["supervisor_programs"], values["supervisor_listeners"]
    for text in program_conf.collisions(programs, listeners):
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


# --- memory ---------------------------------------------------------------------------------------------------------

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


def _bytes(value: str) -> int:
    """The bytes in 500MB, 500M or 500."""
    number, unit = re.fullmatch(r"(\d+)([KMG]?)B?", value.upper()).groups()
    return int(number) * _UNITS[unit]


@rule("supervisor_memory_max")
def _memory_of_all(value: str) -> Iterator[str]:
    if value and not re.fullmatch(r"\d+[KMG]B?|[1-9]\d?%|100%", value, re.IGNORECASE | re.ASCII):
        yield "write a number followed by MB, GB or %, such as 4GB, or nothing."
    elif value and not value.endswith("%") and _bytes(value) < 128 * 2**20:
        yield "supervisord and one app would not fit into it. Write 128MB or more."


@rule("flask_app_memory_max")
def _memory_of_instance(value: str) -> Iterator[str]:
    if value and not re.fullmatch(r"\d+[KMG]B", value, re.IGNORECASE | re.ASCII):
        yield "write a number followed by MB or GB, such as 500MB, or nothing."
    elif value and _bytes(value) < 2 * _EMPTY_WORKER * 2**20:
        yield f"an instance with one worker and an app of no size takes {2 * _EMPTY_WORKER} MB. Write more."


@between
def _memory(values: Values) -> Iterator[tuple[str, str]]:
    most = values["flask_app_memory_max"]
    _name, workers = values.gunicorn("workers", "flask_app_workers")
    if most and _bytes(most) < (1 + workers) * _EMPTY_WORKER * 2**20:
        yield (
            "flask_app_memory_max",
            f"is {shown(most)}: an instance with {workers} workers takes {(1 + workers) * _EMPTY_WORKER} MB with an app of no"
            " size, and would be restarted for ever. Write more, or lower the number of workers.",
        )
    limit = values["supervisor_memory_max"]
    if most and limit and not limit.endswith("%") and _bytes(most) > _bytes(limit):
        yield (
            "flask_app_memory_max",
            f"is {shown(most)}, above supervisor_memory_max ({limit}) of all programs together. Lower the one, or raise the other.",
        )


@between
def _two_limits(values: Values) -> Iterator[tuple[str, str]]:
    if values["supervisor_memory_max"] and "MemoryMax" in values["supervisor_unit_options"]:
        yield (
            "supervisor_memory_max",
            "and MemoryMax in supervisor_unit_options are the same. Leave one of the two out.",
        )


# --- gunicorn's settings --------------------------------------------------------------------------------------------

_ROLE = "The role sets it: leave it out."
#: Settings that decide whether restarts lose requests, or that other files must agree with.
_NOT_YOURS = {
    "backlog": "the socket's holder has to know it too. Set flask_app_backlog.",
    "bind": "the socket's holder opens it. Set flask_app_bind.",
    "chdir": "an instance runs in its release. " + _ROLE,
    "check_config": "gunicorn would check its settings and end. Leave it out.",
    "config": "pygun.py is the configuration. Leave it out.",
    "control_socket": "each instance has its own. " + _ROLE,
    "daemon": "supervisor would lose sight of gunicorn. Leave it out.",
    "default_proc_name": "gunicorn sets it itself. Set proc_name.",
    "graceful_timeout": "supervisor's stopwaitsecs has to be longer. Set flask_app_graceful_timeout.",
    "group": "supervisor starts the app with its group. Set flask_app_group.",
    "paste": "it would take the place of the app. Set flask_app_wsgi.",
    "pidfile": "each instance needs its own. Set flask_app_pid_file.",
    "print_config": "gunicorn would print its settings and end. Leave it out.",
    "reload": "a release never changes, so there is nothing to reload. Leave it out, and deploy.",
    "reload_engine": "a release never changes, so there is nothing to reload. Leave it out, and deploy.",
    "reload_extra_files": "a release never changes, so there is nothing to reload. Leave it out, and deploy.",
    "user": "supervisor starts the app as its user. Set flask_app_user.",
    "wsgi_app": "Set flask_app_wsgi.",
}
_SUPERVISORS = "that is supervisor's, not gunicorn's. "
_OF_SUPERVISOR = {
    "autorestart": _SUPERVISORS + _ROLE,
    "autostart": _SUPERVISORS + _ROLE,
    "command": _SUPERVISORS + _ROLE,
    "directory": _SUPERVISORS + "gunicorn runs in its release: leave it out.",
    "environment": _SUPERVISORS + "Set flask_app_env.",
    "exitcodes": _SUPERVISORS + _ROLE,
    "killasgroup": _SUPERVISORS + _ROLE,
    "logfile": "gunicorn has no logfile and would pass over it (it calls it errorlog). Set flask_app_log_dir.",
    "logfile_backups": _SUPERVISORS + "Set flask_app_log_backups.",
    "logfile_maxbytes": _SUPERVISORS + "Set flask_app_log_maxbytes.",
    "numprocs": _SUPERVISORS + "Set flask_app_instances.",
    "process_name": _SUPERVISORS + _ROLE,
    "redirect_stderr": _SUPERVISORS + _ROLE,
    "socket": _SUPERVISORS + "Set flask_app_bind.",
    "startretries": _SUPERVISORS + _ROLE,
    "startsecs": _SUPERVISORS + "With 0 it would take every crash for a start. " + _ROLE,
    "stderr_logfile": _SUPERVISORS + "Set flask_app_log_dir.",
    "stdout_logfile": _SUPERVISORS + "Set flask_app_log_dir.",
    "stopasgroup": _SUPERVISORS + _ROLE,
    "stopsignal": _SUPERVISORS + _ROLE,
    "stopwaitsecs": _SUPERVISORS + "It is flask_app_graceful_timeout and ten seconds more; set that.",
}


@rule("flask_app_gunicorn")
def _gunicorn(values: dict[str, t.Any]) -> Iterator[str]:
    for name, value in values.items():
        if name in _NOT_YOURS or name in _OF_SUPERVISOR:
            yield f"{name} is not taken here: {_NOT_YOURS.get(name) or _OF_SUPERVISOR[name]}"
        elif name not in SETTINGS:
            yield f"gunicorn {GUNICORN} has no setting {shown(name)} and would pass over it; {_nearest(name)}"
        else:
            yield from (f"{name}: {wrong}" for wrong in _setting(name, SETTINGS[name], value))


def _nearest(name: str) -> str:
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip().lstrip("-")).replace("-", "_").replace(" ", "_").lower()
    if plain in COMMAND_LINE:
        return f"on the command line it is called so. Write {COMMAND_LINE[plain]}, as in the configuration file."
    near = [plain] if plain in SETTINGS else difflib.get_close_matches(plain, SETTINGS, 1)
    return f"is {near[0]} meant? Correct it." if near else "take it out (`gunicorn --help` lists what there is)."


def _setting(name: str, kind: str, value: t.Any) -> Iterator[str]:
    """The kinds that most settings are of; the preflight asks gunicorn itself about the others."""
    if kind in ("callable", "post_request") or name == "ssl_context":
        yield "it takes a function. Write one of that name in flask_app_pygun_extra."
    elif value is None:
        yield "it has no value (YAML's null). Leave the line out to get gunicorn's default."
    elif kind == "pos_int":
        if isinstance(value, (bool, float, list, dict)) or not re.fullmatch(r"\d+|0[xob][0-9a-fA-F]+", str(value)):
            yield f"{shown(value)} is not a whole number from 0 on. Write one, without a unit."
        elif isinstance(value, str) and re.fullmatch(r"0\d+", value):
            yield f"{shown(value)} is no number that gunicorn reads; write 0o before octal digits."
    elif kind == "bool":
        if not isinstance(value, bool) and str(value).strip().lower() not in ("true", "false"):
            yield f"{shown(value)} is not a yes or no. Write true or false."
    elif kind in ("string", "string_to_list", "string_to_addr_list", "class"):
        if not isinstance(value, str):
            yield f"{shown(value)} is {_yaml_kind(value)}, and a text is expected. Put it in quotes."
        elif kind == "string_to_addr_list":
            for address in filter(None, (part.strip() for part in value.split(","))):
                if address != "*" and not _network(address):
                    yield f"{shown(address)} is neither an IP address nor a network (nor *). Correct it."
        elif kind == "class":
            yield from _worker_class(value) if name == "worker_class" else ()
    elif kind == "list_string":
        if not isinstance(value, str) and not (
            isinstance(value, (list, tuple)) and all(isinstance(entry, str) for entry in value)
        ):
            yield f"a list of texts is expected, and this is {_yaml_kind(value)}. Write each on a line of its own, after a dash."
        elif name == "raw_env":
            entries = [value] if isinstance(value, str) else value
            if not all(re.match(r"[A-Za-z_]\w*=", entry) for entry in entries):
                yield "an entry is not NAME=value. Better use flask_app_env, which keeps values from others' eyes."
    elif kind == "dict" and not isinstance(value, dict):
        yield f"names with values are expected, and this is {_yaml_kind(value)}. Write a line NAME: VALUE for each."


def _network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


# --- between variables ----------------------------------------------------------------------------------------------


@between
def _source(values: Values) -> Iterator[tuple[str, str]]:
    src, repo = values["flask_app_src"], values["flask_app_git_repo"]
    if repo and (src.startswith(("/", "~")) or ".." in src.split("/")):
        yield (
            "flask_app_src",
            f"is {shown(src)}: with flask_app_git_repo it is a directory inside the repository. Write it relative, without ..,"
            " or leave one of the two out.",
        )
    if not src and not repo and not values["flask_app_packages"]:
        yield (
            "flask_app_src",
            "is empty, and so are flask_app_git_repo and flask_app_packages. Set the one that says where the app comes from.",
        )
    if values["flask_app_git_ref"] != "HEAD" and not repo:
        yield (
            "flask_app_git_ref",
            f"is {shown(values['flask_app_git_ref'])}, and flask_app_git_repo is empty. Set it, or leave the ref out.",
        )


@between
def _relative_requirements(values: Values) -> Iterator[tuple[str, str]]:
    for path in values["flask_app_requirements"]:
        if path.startswith("-"):
            yield "flask_app_requirements", f"names {shown(path)}, an option. Write paths of requirement files."
        elif re.search(r"[=<>\[]", path):
            yield "flask_app_requirements", f"names {shown(path)}: that is a package. Put it into flask_app_packages."
        elif not path.startswith("/") and ".." in path.split("/"):
            yield "flask_app_requirements", f"names {shown(path)}, outside the source. Write an absolute path."
        elif not path.startswith("/") and not (values["flask_app_src"] or values["flask_app_git_repo"]):
            yield (
                "flask_app_requirements",
                f"names {shown(path)}, and there is no source that it could be relative to. Write an absolute path.",
            )


@between
def _overrides(values: Values) -> Iterator[tuple[str, str]]:
    if values["flask_app_overrides"] and values["flask_app_installer"] != "uv":
        yield (
            "flask_app_overrides",
            "needs flask_app_installer to be uv, since pip has no such thing. Set that, or leave the overrides out.",
        )


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
def _times(values: Values) -> Iterator[tuple[str, str]]:
    graceful = values["flask_app_graceful_timeout"]
    name, keepalive = values.gunicorn("keepalive", "flask_app_keepalive")
    if keepalive >= graceful:
        yield (
            name,
            f"({keepalive} s) is not below flask_app_graceful_timeout ({graceful} s): idle connections would outlive the stop."
            " Lower it.",
        )
    patience = values["supervisor_stop_timeout"]
    if graceful + STOP_MARGIN >= patience:
        yield (
            "flask_app_graceful_timeout",
            f"({graceful} s) and ten seconds more (stopwaitsecs) do not fit into supervisor_stop_timeout ({patience} s): systemd"
            " would kill requests in flight. Lower it, or raise supervisor_stop_timeout.",
        )


@between
def _max_requests(values: Values) -> Iterator[tuple[str, str]]:
    _name, most = values.gunicorn("max_requests", "flask_app_max_requests")
    name, jitter = values.gunicorn("max_requests_jitter", "flask_app_max_requests_jitter")
    if jitter and not most:
        yield name, f"({jitter}) has no effect, since flask_app_max_requests is 0. Set both, or none."


@between
def _descriptors(values: Values) -> Iterator[tuple[str, str]]:
    name, connections = values.gunicorn("worker_connections", "flask_app_worker_connections")
    most = values["supervisor_minfds"]
    if values["flask_app_worker_class"] == "gevent" and connections + 100 > most:
        yield (
            name,
            f"({connections}) needs as many file descriptors and some more, and supervisor_minfds is {most}. Lower the one, or"
            " raise the other.",
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
            "is empty, and supervisor_http_enabled is true. Choose one of 8 characters or more and keep it in ansible-vault;"
            " there is no default.",
        )


@between
def _public_page(values: Values) -> Iterator[tuple[str, str]]:
    bind = values["supervisor_http_bind"]
    if values["supervisor_http_enabled"] and not _ip(bind).is_loopback and not values["supervisor_http_public"]:
        yield (
            "supervisor_http_bind",
            f"is {shown(bind)}: other machines could reach the page, which speaks plain HTTP and starts and stops programs."
            " Leave it at 127.0.0.1 and use an SSH tunnel, or set supervisor_http_public to true.",
        )


@between
def _same_port(values: Values) -> Iterator[tuple[str, str]]:
    host, _colon, port = values["flask_app_bind"].rpartition(":")
    if not values["supervisor_http_enabled"] or not port.isdigit() or int(port) != values["supervisor_http_port"]:
        return
    app, page = _ip(host.strip("[]")), _ip(values["supervisor_http_bind"])
    if app == page or app.is_unspecified or page.is_unspecified:
        yield (
            "flask_app_bind",
            f"is {shown(values['flask_app_bind'])}, and supervisor_http_port is {port} too. Choose another port for one of them.",
        )


@between
def _user_of_its_own(values: Values) -> Iterator[tuple[str, str]]:
    """The role makes the user's home, group and shell what the app needs."""
    if values["flask_app_user"] in _USERS:
        yield (
            "flask_app_user",
            f"is {shown(values['flask_app_user'])}, which other programs use too. Leave it out: the app gets a user of its own;"
            " flask_app_group lets another program reach its socket.",
        )


_FOLDERS = {
    "flask_app_base_dir": "apps",
    "flask_app_log_dir": "logs",
    "supervisor_conf_dir": "configuration",
    "supervisor_log_dir": "logs",
    "python_tools_dir": "tools",
    "python_cache_dir": "downloads",
}


@between
def _folders(values: Values) -> Iterator[tuple[str, str]]:
    """Each directory is somewhere that lasts, and the role may give it owner and mode without hurting anybody else."""
    for name, what in _FOLDERS.items():
        try:
            path = values[name]
        except Unusable:
            continue
        volatile = _below(path, *_NOT_ON_DISK)
        if volatile:
            yield name, f"is {shown(path)}: {volatile} does not keep {what} over a reboot. Choose a directory on disk."
        elif path in _SYSTEM and (name != "flask_app_base_dir" or path in ("/", "/home", "/root", "/var")):
            yield name, f"is {shown(path)}, which is not for one purpose alone. Name a directory below it."
        elif name in ("flask_app_base_dir", "flask_app_log_dir", "supervisor_log_dir") and _below(path, *_READ_ONLY):
            yield (
                name,
                f"is {shown(path)}: systemd keeps {_below(path, *_READ_ONLY)} read-only for supervisor. Use /srv or /var.",
            )
        elif name == "supervisor_conf_dir" and _below(path, "/usr", "/bin", "/sbin", "/lib", "/boot", "/home", "/root"):
            yield name, f"is {shown(path)}: configuration belongs below /etc (or /opt, /srv)."


@between
def _homes(values: Values) -> Iterator[tuple[str, str]]:
    if str(values["supervisor_unit_options"].get("ProtectHome", "read-only")).lower() in ("false", "no", "off", "0"):
        return
    for name in ("flask_app_base_dir", "flask_app_log_dir", "supervisor_log_dir"):
        try:
            path = values[name]
        except Unusable:
            continue
        if _below(path, "/home", "/root") and path not in ("/home", "/root"):
            yield (
                name,
                f"is {shown(path)}: supervisor's unit keeps home directories read-only. Use /srv or /var, or set"
                ' supervisor_unit_options: {ProtectHome: "false"}.',
            )


@between
def _masked_values(values: Values) -> Iterator[tuple[str, str]]:
    for name in values["flask_app_log_redact"]:
        value = values["flask_app_env"].get(name)
        if value is not None and 0 < len(str(value)) < 6:
            yield (
                "flask_app_log_redact",
                f"names {name} of flask_app_env, whose value is shorter than 6 characters: it would be masked wherever it"
                " occurs by chance. Give it a longer value, or take the name out.",
            )


@between
def _log_dir(values: Values) -> Iterator[tuple[str, str]]:
    logs, root = values["flask_app_log_dir"], f"{values['flask_app_base_dir']}/{values['flask_app_name']}"
    if _below(logs, root):
        yield (
            "flask_app_log_dir",
            f"is {shown(logs)}, inside {root}, where releases come and go and the app itself may write. Use"
            f" /var/log/{values['flask_app_name']}.",
        )


@between
def _apart(values: Values) -> Iterator[tuple[str, str]]:
    seen: dict[str, str] = {}
    for name in _FOLDERS:
        try:
            path = values[name]
        except Unusable:
            continue
        if path in seen:
            yield name, f"is {shown(path)}, and so is {seen[path]}. Give each a directory of its own."
        seen[path] = name


# --- what may be meant, and seldom is -------------------------------------------------------------------------------


def _suspicions(values: Values, memory_mb: int) -> Iterator[tuple[str, str]]:
    for suspicion in (_unseen_within, _too_late, _closed_socket, _unbounded_logs, _too_many_workers):
        try:
            yield from suspicion(values, memory_mb)
        except Unusable:
            pass


def _unseen_within(values: Values, _memory_mb: int) -> Iterator[tuple[str, str]]:
    for name, value in values["flask_app_env"].items():
        found = unseen(str(value), "\n\t\r")
        if found:
            yield (
                "flask_app_env",
                f"has a strange value: that of {name} holds a character that cannot be seen ({found[0]}).",
            )


def _too_late(values: Values, _memory_mb: int) -> Iterator[tuple[str, str]]:
    for name in values["flask_app_env"]:
        if re.match(r"PYTHON[A-Z]+$|LD_|MALLOC_|GLIBC_", name):
            yield (
                "flask_app_env",
                f"{name} is read when a process starts, before this file is; only what the app starts sees it.",
            )


def _closed_socket(values: Values, _memory_mb: int) -> Iterator[tuple[str, str]]:
    mode, name, group = values["flask_app_socket_mode"], values["flask_app_name"], values["flask_app_group"]
    if values["flask_app_bind"].startswith("unix:") and not mode.endswith("0"):
        yield (
            "flask_app_socket_mode",
            f"is {shown(mode)}, and others cannot reach the socket all the same: /run/{name} is for root and flask_app_group"
            f" ({group}) alone. Put callers into that group.",
        )


def _unbounded_logs(values: Values, _memory_mb: int) -> Iterator[tuple[str, str]]:
    sized = not re.fullmatch(r"0+([KMG]B)?", str(values["flask_app_log_maxbytes"]), re.IGNORECASE)
    if not sized and not values["flask_app_log_rotate"] and not values["flask_app_log_max_age"]:
        yield "flask_app_log_maxbytes", "is 0: logs are never rotated and grow until the disk is full."
    elif values["flask_app_log_backups"] == 0:
        yield "flask_app_log_backups", "is 0: at each rotation the log so far is thrown away."


def _too_many_workers(values: Values, memory_mb: int) -> Iterator[tuple[str, str]]:
    name, workers = values.gunicorn("workers", "flask_app_workers")
    needed = workers * values["flask_app_instances"] * _EMPTY_WORKER
    if memory_mb and needed > memory_mb:
        yield (
            name,
            f"({workers}) times flask_app_instances ({values['flask_app_instances']}) are more workers than the host's {memory_mb} MB"
            f" can hold: even with an empty app they take about {needed} MB.",
        )
