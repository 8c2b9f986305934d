# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules about the variables of the role flask_app."""

from __future__ import annotations

import ast
import keyword
import re
import typing as t
from collections.abc import Iterator

from ...module_utils.host import build_account
from ...module_utils.host.logins import masked
from ...module_utils.release.commands import commands_from
from ...module_utils.release.package_lock import names_to_upgrade
from .. import requirement_mistakes
from ..text import foreign, shown, unseen
from .ranges import STOP_MARGIN
from .rules import Values, between, rule
from .value_types import yaml_kind

#: Bytes of one NAME=value that Linux hands to a program (MAX_ARG_STRLEN, less the NUL).
_ENVIRONMENT_ENTRY = 128 * 1024 - 1
#: Bytes of all of them that certainly fit next to the arguments.
_ENVIRONMENT = 1024 * 1024
# Names of other programs on a Debian host: their users, and their directories in /run and /var/log.
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
    page = re.fullmatch(
        r"(https?://[^/\s]+/[^\s]+?)/(?:-/)?(?:tree/([^/\s]+)(?:/(\S*))?|blob/([^/\s]+)/\S*)(?<!\.git)", value
    )
    behind = re.fullmatch(r"(\S+?\.git)(?:#|@)([\w./-]+)", value)
    if value.startswith("-") or " " in value or "::" in value:
        yield "that is no address of a repository. Write one such as https://host/team/app.git or git@host:team/app.git."
    elif re.match(r"git\+\w+:", value):
        yield f"only pip and uv write git+ before an address. Write {masked(value.removeprefix('git+'))}."
    elif page:
        folder = f", with flask_app_src: {page[3]}" if page[3] else ""
        yield f"that is a page of the repository. Write {masked(page[1])} and flask_app_git_ref: {page[2] or page[4]}{folder}."
    elif behind:
        yield f"git takes no branch or tag behind an address. Write {masked(behind[1])} and flask_app_git_ref: {behind[2]}."
    elif re.match(r"\w[\w.-]*@[\w.-]+/", value):
        yield f"that is a path. ssh wants a colon behind the host. Write {value.replace('/', ':', 1)}."
    elif re.match(r"(?:www\.)?(?:github|gitlab|bitbucket|codeberg)\.\w+/|https?:/?[^/]", value):
        yield f"it does not begin as an address does. Write https://{re.sub('^https?:/?', '', value)}."


@rule("flask_app_packages", "flask_app_server_packages", "flask_app_overrides")
def _requirements(values: list[str]) -> Iterator[str]:
    for value in values:
        text = value.strip()
        address = text.partition(" @ ")[2] or text
        if re.match(r"-[er]\b|--(?:editable|requirement)\b", text):
            yield f"{shown(value)} is a line of a requirement file. Name such a file in flask_app_requirements."
        elif text.startswith("-"):
            yield f"{shown(value)} is an option of the installer. Put it into python_extra_args."
        elif "://" in address and (
            mistake := requirement_mistakes.of_address(re.split(r"\s;|;\s", address)[0].strip())
        ):
            yield f"it{mistake}"
        elif "://" in text or text.startswith("/"):
            if " " in text.partition(";")[0].partition(" @ ")[2 if " @ " in text else 0]:
                yield f"{shown(value)} holds a space within an address. Write it as %20."
        elif not re.fullmatch(
            r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\s*(\[[A-Za-z0-9._,\s-]*\])?\s*"
            r"((===|[=!<>~]=|[<>])\s*[A-Za-z0-9.*+!_-]+\s*(,\s*(===|[=!<>~]=|[<>])\s*[A-Za-z0-9.*+!_-]+\s*)*)?(;.*)?",
            text,
        ):
            hint = " (two equals signs)" if re.search(r"[^=!<>~]=[^=]", text) else ""
            yield f"{shown(value)} is not a requirement. Write it as NAME or NAME==VERSION{hint}, such as flask==3.1.2."
        elif mistake := requirement_mistakes.of_syntax(text) or requirement_mistakes.of_plain(text):
            yield f"it{mistake}"


@rule("flask_app_upgrade")
def _upgrade(value: t.Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield "it is a dictionary. Write true for all packages, or a list of names."
        return
    for name in names_to_upgrade(value):
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", name):
            yield f"{shown(name)} is not the name of a package. Write true for all packages, or names without versions, such as flask."


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


@rule("flask_app_log_maxbytes", "supervisor_log_maxbytes", "python_cache_max")
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


@rule("flask_app_health_path")
def check_health_path(value: str) -> Iterator[str]:
    if "://" in value:
        yield "it is a whole address. Write only the path, such as /healthz."
    elif value and (not value.startswith("/") or re.search(r"[\s#]", value)):
        yield "write a path that begins with / and has no space and no #, such as /healthz."


@rule("flask_app_health_host")
def _health_host(value: str) -> Iterator[str]:
    if not re.fullmatch(r"[A-Za-z0-9.:_\[\]-]+", value):
        yield "write a host name, with its port if the app wants one, without a scheme or a path."


@rule("flask_app_exclude")
def _exclude(values: list[str]) -> Iterator[str]:
    for value in values:
        if value.startswith(("/", "./", "../")) or "/../" in value:
            yield f"{shown(value)} matches nothing. Write a name, or a path relative to the source without ./ before it."
        elif value in ("*", "**", "*.py"):
            yield f"{shown(value)} would leave nothing to run. Take it out."


@rule("flask_app_include")
def _include(values: list[str]) -> Iterator[str]:
    for value in values:
        if value.startswith(("/", "./", "../")) or "/../" in value or not value.strip("/"):
            yield f"{shown(value)} matches nothing. Write a name, or a path relative to the source without ./ before it."


@rule("flask_app_extras")
def _extras(values: list[str]) -> Iterator[str]:
    for value in values:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", value):
            yield f"{shown(value)} is not the name of an extra. Write only the name, such as postgres."


@rule("flask_app_release_command", "flask_app_release_command_state")
def _release_command(value: t.Any) -> Iterator[str]:
    try:
        commands_from(value)
    except ValueError as error:
        yield str(error)


@rule("flask_app_shared_paths")
def _shared_paths(values: list[str]) -> Iterator[str]:
    paths = [value.rstrip("/") for value in values]
    for value in values:
        path = value.rstrip("/")
        if not path or any(part in ("", ".", "..") for part in path.split("/")):
            yield f"{shown(value)} is not a path in the source. Write it relative, without . and .., such as instance or uploads/."
        elif path != path.strip() or re.match(r"~|\$", path) or "\\" in path:
            yield f"{shown(value)} begins or ends with a space, or holds ~, $ or \\, which nothing replaces. Write the plain path in the source."
        elif re.search(r"[*?\[]", path):
            yield f"{shown(value)} is a pattern, and a path is expected. Name each file or folder."
        elif paths.count(path) > 1 or any(path.startswith(f"{other}/") for other in paths):
            yield f"{shown(value)} is named twice, or lies in another entry. Keep one of them."


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
        elif name == "SCRIPT_NAME" and value != "" and not re.fullmatch(r"(/[^/\s?#\"']+)+", str(value)):
            yield "SCRIPT_NAME is the path below which the app is served. Begin it with / and end it without, such as /scoring."
        elif isinstance(value, (list, dict)):
            yield f"{name} is {yaml_kind(value)}, and a variable of the environment is a text. Write one; `| to_json` makes it."
        else:
            text = str(value)
            total += len(name) + 2 + len(text.encode(errors="replace"))
            yield from (f"the value of {name} {wrong}" for wrong in _environment_text(name, text))
    if total > _ENVIRONMENT:
        yield f"together they take {total} bytes; a process with so many could start no program. Put big data into files."


def _environment_text(name: str, text: str) -> Iterator[str]:
    """Refuse invisible characters at the beginning or the end of a text; all other texts are allowed."""
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
    if values["flask_app_shared_paths"] and not src and not repo:
        yield (
            "flask_app_shared_paths",
            "names paths in the source, and there is none: the app comes from flask_app_packages. Leave it out, and have the app write below"
            " the directory that PYGUN_SHARED_DIR in its environment names.",
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
def _current(values: Values) -> Iterator[tuple[str, str]]:
    """`current` moves at the end of a deploy: until then it is the old release, and on a first deploy it is not there."""
    path = f"{values['flask_app_base_dir']}/{values['flask_app_name']}/current"
    current = re.compile(re.escape(path) + r"(?![\w.-])")
    old = "holds a path through current, which is the old release while a deploy lasts, and is not there at the first."
    for name in ("flask_app_env", "flask_app_gunicorn"):
        for key, value in values[name].items():
            texts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
            if any(current.search(str(text)) for text in texts):
                yield name, f"({key}) {old} Write {{release}} in place of {path}, such as {{release}}/src/app.cfg."
    if current.search(values["flask_app_pygun_extra"]):
        yield "flask_app_pygun_extra", f"{old} Write runtime.release_path there."


@between
def _overrides(values: Values) -> Iterator[tuple[str, str]]:
    if values["flask_app_overrides"] and values["flask_app_installer"] != "uv":
        yield (
            "flask_app_overrides",
            "needs flask_app_installer to be uv, since pip has no such thing. Set that, or leave the overrides out.",
        )
    if values["flask_app_overrides"] and values["flask_app_require_hashes"]:
        yield (
            "flask_app_overrides",
            "names packages without hashes, and flask_app_require_hashes is true. Write them into the requirement file, with hashes.",
        )


@between
def _times(values: Values) -> Iterator[tuple[str, str]]:
    graceful = values["flask_app_graceful_timeout"]
    name, keepalive = values.gunicorn("keepalive", "flask_app_keepalive")
    # The gevent worker closes idle connections as soon as it is to stop.
    worker_class = values["flask_app_gunicorn"].get("worker_class", values["flask_app_worker_class"])
    if keepalive >= graceful and worker_class != "gevent":
        yield (
            name,
            f"({keepalive} s) is not below flask_app_graceful_timeout ({graceful} s): idle connections would outlive the stop. Raise"
            " flask_app_graceful_timeout if a balancer in front needs connections for that long, else lower this; or set"
            " flask_app_worker_class: gevent.",
        )
    patience = values["supervisor_stop_timeout"]
    if graceful + STOP_MARGIN >= patience:
        yield (
            "flask_app_graceful_timeout",
            f"({graceful} s) and ten seconds more (stopwaitsecs) do not fit into supervisor_stop_timeout ({patience} s): systemd"
            " would kill requests in flight. Lower it, or raise supervisor_stop_timeout.",
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


def unseen_within(values: Values, _memory_mb: int) -> Iterator[tuple[str, str]]:
    for name, value in values["flask_app_env"].items():
        found = unseen(str(value), "\n\t\r")
        if found:
            yield (
                "flask_app_env",
                f"has a strange value: that of {name} holds a character that cannot be seen ({found[0]}).",
            )


def unbounded_logs(values: Values, _memory_mb: int) -> Iterator[tuple[str, str]]:
    sized = not re.fullmatch(r"0+([KMG]B)?", str(values["flask_app_log_maxbytes"]), re.IGNORECASE)
    if not sized and not values["flask_app_log_rotate"] and not values["flask_app_log_max_age"]:
        yield "flask_app_log_maxbytes", "is 0: logs are never rotated and grow until the disk is full."
    elif values["flask_app_log_backups"] == 0:
        yield "flask_app_log_backups", "is 0: at each rotation the log so far is thrown away."
