# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Programs and event listeners of any kind: the meaning of their settings, and how supervisor reads them from a file.

The settings have supervisor's own names. A value reaches the program exactly as it was given, with one exception:
supervisor's expansions ``%(process_num)02d``, ``%(numprocs)d``, ``%(program_name)s``, ``%(group_name)s`` and
``%(host_node_name)s`` keep their meaning in texts. Every other percent sign is a percent sign. What supervisor's file
format cannot hold at all is refused.
"""

from __future__ import annotations

import difflib
import re
import shlex
import signal
import typing as t

from ..release import shell_text

#: Kinds of a setting: str, path, int, bool, size, list of str or int, dict.
_COMMON: dict[str, str] = {
    "name": "str",
    "command": "str",
    "user": "str",
    "directory": "path",
    "environment": "dict",
    "umask": "str",
    "numprocs": "int",
    "numprocs_start": "int",
    "priority": "int",
    "autostart": "bool",
    "autorestart": "str",
    "startsecs": "int",
    "startretries": "int",
    "exitcodes": "list",
    "stopsignal": "str",
    "stopwaitsecs": "int",
    "stopasgroup": "bool",
    "killasgroup": "bool",
    "stdout_logfile": "str",
    "stdout_logfile_maxbytes": "size",
    "stdout_logfile_backups": "int",
    "stdout_capture_maxbytes": "size",
    "stdout_events_enabled": "bool",
    "stdout_syslog": "bool",
    "stderr_logfile": "str",
    "stderr_logfile_maxbytes": "size",
    "stderr_logfile_backups": "int",
    "stderr_capture_maxbytes": "size",
    "stderr_events_enabled": "bool",
    "stderr_syslog": "bool",
    "serverurl": "str",
}
PROGRAM: dict[str, str] = {**_COMMON, "redirect_stderr": "bool", "group": "str"}
LISTENER: dict[str, str] = {**_COMMON, "events": "list", "buffer_size": "int", "result_handler": "str"}
REQUIRED = {"program": ("name", "command", "user"), "eventlistener": ("name", "command", "user", "events")}
SETTINGS = {"program": PROGRAM, "eventlistener": LISTENER}
#: Events that supervisor 4.3 sends to listeners.
EVENTS = frozenset(
    """
    EVENT PROCESS_STATE PROCESS_STATE_STOPPED PROCESS_STATE_EXITED PROCESS_STATE_STARTING PROCESS_STATE_STOPPING
    PROCESS_STATE_BACKOFF PROCESS_STATE_FATAL PROCESS_STATE_RUNNING PROCESS_STATE_UNKNOWN PROCESS_COMMUNICATION
    PROCESS_COMMUNICATION_STDOUT PROCESS_COMMUNICATION_STDERR PROCESS_LOG PROCESS_LOG_STDOUT PROCESS_LOG_STDERR
    REMOTE_COMMUNICATION SUPERVISOR_STATE_CHANGE SUPERVISOR_STATE_CHANGE_RUNNING SUPERVISOR_STATE_CHANGE_STOPPING
    TICK TICK_5 TICK_60 TICK_3600 PROCESS_GROUP PROCESS_GROUP_ADDED PROCESS_GROUP_REMOVED
    """.split()
)
SIGNALS = sorted(name[3:] for name in dir(signal) if re.fullmatch(r"SIG[A-Z][A-Z0-9]+", name))
_RANGES = {
    "numprocs": (1, 1000),
    "numprocs_start": (0, 100000),
    "priority": (-1000, 100000),
    "startsecs": (0, 3600),
    "startretries": (0, 10**9),
    "stopwaitsecs": (1, 86400),
    "stdout_logfile_backups": (0, 1000),
    "stderr_logfile_backups": (0, 1000),
    "buffer_size": (1, 100000),
}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_TEXTS = ("command", "directory", "environment")
EXPANSION = re.compile(
    r"%\((?:(?:program_name|group_name|host_node_name)\)s|(?:process_num|numprocs)\)(?:0?[1-9])?[ds])"
)
_FOREIGN_EXPANSION = re.compile(r"%\((?:here|ENV_\w+|program_name|group_name|host_node_name|process_num|numprocs)\)")
Entry = dict[str, t.Any]


def problems(kind: str, entry: Entry, rejected: t.Collection[str] = ()) -> t.Iterator[str]:
    """Problems of a program or an event listener whose values have the right types.

    Settings without a value are left to supervisor. No text of a problem holds a value of the environment.

    :param rejected: settings whose value is of a wrong type and not in the entry: they are not missing
    """
    given = {key: value for key, value in entry.items() if value is not None}
    for name in REQUIRED[kind]:
        if not given.get(name) and name not in rejected:
            yield f"{name} is missing. {_WHY_REQUIRED.get(name, 'Give it one.')}"
    for name, value in given.items():
        if name in _RANGES:
            least, most = _RANGES[name]
            if not least <= int(value) <= most:
                yield f"{name} is {value}: write a number from {least} to {most}."
        elif SETTINGS[kind].get(name) == "size" and not re.fullmatch(r"\d+([KMG]B)?", str(value), re.IGNORECASE):
            yield f"{name} is {value}: write bytes, or a number followed by KB, MB or GB, such as 50MB."
        elif name in _MEANING:
            yield from (f"{name}{text}" for text in _MEANING[name](value))
    for name in _TEXTS:
        yield from _expansions(name, given.get(name))
    yield from _together(given)


_WHY_REQUIRED = {
    "user": "supervisord runs as root, and so would the program. Name its user, even if that is root.",
    "events": "Name what it listens to, such as PROCESS_STATE_EXITED or TICK_60.",
}


def unknown(kind: str, names: t.Iterable[str]) -> t.Iterator[str]:
    """Names of settings that there are not, each with the nearest that there is."""
    known = SETTINGS[kind]
    for name in names:
        if name in known:
            continue
        plain = str(name).strip().lower().replace("-", "_")
        near = [plain] if plain in known else difflib.get_close_matches(plain, known, 1)
        what = "a program" if kind == "program" else "an event listener"
        if name == "process_name":
            yield "process_name is not taken: it is the program's name, with its number behind it if numprocs is above 1. Leave it out."
        elif name == "redirect_stderr":
            yield "redirect_stderr is not taken: a listener's stdout belongs to supervisor's protocol. Leave it out."
        elif name in ("socket", "socket_owner", "socket_mode", "socket_backlog"):
            yield f"{name} is not taken: only an fcgi-program has a socket; pygun.stack.flask_app makes one. Leave it out."
        elif name in PROGRAM or name in LISTENER:
            yield f"{name} is no setting of {what}. Leave it out."
        else:
            hint = f"is {near[0]} meant? Correct it." if near else "take it out."
            yield f"{name!r} is no setting of {what}; {hint}"


def _name(value: str) -> t.Iterator[str]:
    if not _NAME.fullmatch(value):
        yield f" is {value!r}: write letters, digits and _ . - only, 64 characters at most."
    elif value == "all":
        yield " is 'all', which supervisorctl takes for every program. Choose another."


def _command(value: str) -> t.Iterator[str]:
    if re.search(r"[\0-\x1f\x7f]", value):
        yield " holds a line break or another control character. Write it on one line; YAML's >- joins lines."
        return
    try:
        words = shlex.split(value)
    except ValueError as error:
        yield f" cannot be split into words ({error}). Put a quoted part between two quotes of one kind."
        return
    if not words or not words[0]:
        yield " names no program. Write its path and its arguments."
    elif words[0].startswith("~") or "$" in words[0]:
        yield f" begins with {words[0]!r}: supervisor starts no shell that would replace ~ or $. Write the whole path."
    elif "/" in words[0] and not words[0].startswith("/"):
        yield f" begins with {words[0]!r}: write the whole path, beginning with /."
    else:
        part = shell_text.found_in(value) or shell_text.found_in(words)
        if part:
            yield (
                f" has {part!r}, which only a shell understands. Write /bin/sh -c '...' around it; or put it in quotes if it is no more"
                " than a text."
            )


def _environment(values: dict[str, t.Any]) -> t.Iterator[str]:
    for name, value in values.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            yield f": {name!r} is no name of a variable. Write letters, digits and _, not beginning with a digit."
        elif re.match(r"SUPERVISOR_", name):
            yield f": {name} is set by supervisor itself. Choose another name."
        elif value is None:
            yield f': {name} has no value (YAML\'s null). Write "" for an empty one.'
        elif isinstance(value, bool):
            yield f": {name} is a yes or no. Put in quotes what the program shall read."
        elif isinstance(value, (list, dict)):
            yield f": {name} is no text. Write one."
        elif re.search(r"[\0-\x1f\x7f]", str(value)):
            yield (
                f": the value of {name} holds a line break or another control character, which supervisor's files cannot."
                " Put it into a file, and that file's path here."
            )
        elif str(value)[:1] in ("'", '"') or str(value)[-1:] in ("'", '"') or {"'", '"'} <= set(str(value)):
            yield (
                f": the value of {name} begins or ends with a quote, or holds quotes of both kinds, which supervisor's files"
                " cannot. Put it into a file, and that file's path here."
            )


def _user(value: str) -> t.Iterator[str]:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}", value):
        yield f" is {value!r}: that is no name of a user. Correct it."


def _directory(value: str) -> t.Iterator[str]:
    if not value.startswith("/") or re.search(r"[\0-\x1f\x7f]", value) or value != value.strip():
        yield f" is {value!r}: write an absolute path."


def _umask(value: str) -> t.Iterator[str]:
    if not re.fullmatch(r"0?[0-7]{3}", value):
        yield f' is {value!r}: write three octal digits in quotes, such as "022".'


def _autorestart(value: str) -> t.Iterator[str]:
    if str(value).lower() not in ("true", "false", "unexpected", "yes", "no", "on", "off", "1", "0"):
        yield f" is {value!r}: write true, false or unexpected."


def _exitcodes(values: t.Sequence[t.Any]) -> t.Iterator[str]:
    if not values:
        yield " is empty: name one code at least, such as 0."
    for value in values:
        if isinstance(value, bool) or not re.fullmatch(r"\d{1,3}", str(value).strip()) or int(value) > 255:
            yield f" has {value!r}: write numbers from 0 to 255."


def _stopsignal(value: str) -> t.Iterator[str]:
    name = str(value).upper()
    name = name[3:] if name.startswith("SIG") else name
    if name.isdigit():
        yield f" is {value!r}: write the signal's name, such as TERM."
    elif name not in SIGNALS:
        near = difflib.get_close_matches(name, SIGNALS, 1)
        yield f" is {value!r}, which is no signal; {f'is {near[0]} meant? Correct it.' if near else 'write TERM, INT or QUIT.'}"
    elif name in ("STOP", "CONT", "CHLD", "CLD", "WINCH", "URG"):
        yield f" is {value!r}, which ends no program. Write TERM, INT or QUIT."


def _events(values: t.Sequence[str]) -> t.Iterator[str]:
    for value in values:
        name = str(value).strip().upper()
        if name not in EVENTS:
            near = difflib.get_close_matches(name, sorted(EVENTS), 1)
            yield f" has {value!r}, which supervisor does not send; {f'is {near[0]} meant? Correct it.' if near else 'take it out.'}"


def _log_file(value: str) -> t.Iterator[str]:
    if value.upper() == "NONE":
        return
    if value.upper() == "AUTO":
        yield " is AUTO, a file that is gone after a restart of supervisord. Leave it out, or write a path."
    elif value.lower() == "syslog":
        yield " is syslog. Set stdout_syslog or stderr_syslog."
    elif not re.fullmatch(r"/[A-Za-z0-9/._+@-]+", EXPANSION.sub("", value)) or value.endswith("/"):
        yield f" is {value!r}: write an absolute path of letters, digits and . _ + @ - (or NONE)."


def _serverurl(value: str) -> t.Iterator[str]:
    if not re.fullmatch(r"AUTO|unix:///[^\s;#%]+|https?://[^\s;#%]+", value):
        yield f" is {value!r}: write AUTO, unix:///PATH or http://ADDRESS:PORT."


def _result_handler(value: str) -> t.Iterator[str]:
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", value):
        yield f" is {value!r}: write MODULE:FUNCTION."


_MEANING: dict[str, t.Callable[[t.Any], t.Iterator[str]]] = {
    "name": _name,
    "command": _command,
    "user": _user,
    "group": _name,
    "directory": _directory,
    "environment": _environment,
    "umask": _umask,
    "autorestart": _autorestart,
    "exitcodes": _exitcodes,
    "stopsignal": _stopsignal,
    "events": _events,
    "stdout_logfile": _log_file,
    "stderr_logfile": _log_file,
    "serverurl": _serverurl,
    "result_handler": _result_handler,
}


def _expansions(name: str, value: t.Any) -> t.Iterator[str]:
    texts = [str(entry) for entry in value.values()] if isinstance(value, dict) else [str(value or "")]
    for text in texts:
        found = _FOREIGN_EXPANSION.search(EXPANSION.sub("", text))
        if found:
            yield (
                f"{name} has {found.group()}, which is not replaced here. Write the value itself; replaced are"
                " %(process_num)d, %(numprocs)d, %(program_name)s, %(group_name)s and %(host_node_name)s."
            )


def _together(given: Entry) -> t.Iterator[str]:
    texts = [str(given.get("command", "")), *map(str, (given.get("environment") or {}).values())]
    if any("{release}" in text for text in texts) and not re.match(r"\S+/current/run\s", texts[0]):
        yield (
            "{release} is replaced by the program that runs an app's programs only. Let the command begin with it:"
            " /srv/NAME/current/run PROGRAM ARGUMENT..."
        )
    if given.get("stopasgroup") and given.get("killasgroup") is False:
        yield "stopasgroup is true and killasgroup is false, which supervisor refuses. Leave killasgroup out."
    if given.get("redirect_stderr") and str(given.get("stderr_logfile", "NONE")).upper() != "NONE":
        yield "redirect_stderr is true, so nothing goes to stderr_logfile. Leave one of the two out."
    if int(given.get("numprocs", 1)) > 1:
        for name in ("stdout_logfile", "stderr_logfile"):
            if name in given and given[name].upper() != "NONE" and "%(process_num)" not in given[name]:
                yield (
                    f"{name} is one file for {given['numprocs']} processes, and each would rotate it. Put %(process_num)d into"
                    " its name, or leave it out."
                )


def collisions(programs: t.Sequence[Entry], listeners: t.Sequence[Entry]) -> t.Iterator[str]:
    """Names that two of them claim. Groups, programs and listeners share one space of names."""
    seen: dict[str, str] = {}
    for what, entry in [*(("a program", one) for one in programs), *(("a listener", one) for one in listeners)]:
        name = entry.get("name")
        if not isinstance(name, str):
            continue
        if name in seen:
            yield f"{name} is the name of {seen[name]} and of {what}. Give each a name of its own."
        seen[name] = what
    for entry in programs:
        group = entry.get("group")
        if group in seen and isinstance(group, str):
            yield f"{group} is the name of {seen[group]} and of a group. Give each a name of its own."
