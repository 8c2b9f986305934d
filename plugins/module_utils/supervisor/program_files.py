# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The files in conf.d: how programs are written there, and how two versions of a file compare."""

from __future__ import annotations

import re
import typing as t

from . import conf, program_scope
from .program_settings import EXPANSION, SETTINGS, Entry

#: Expands to nothing. Between a space and a ; or # it keeps supervisor from taking the rest of the line for a comment.
_NOTHING = "%(program_name).0s"


def escaped(value: str) -> str:
    """Escape a text for supervisor's file, so that supervisor reads the same text."""
    parts = []
    end = 0
    for found in EXPANSION.finditer(value):
        parts += [value[end : found.start()].replace("%", "%%"), found.group()]
        end = found.end()
    parts.append(value[end:].replace("%", "%%"))
    return re.sub(r"(?<=\s)(?=[;#])", lambda found: _NOTHING, "".join(parts))


def _environment_text(values: dict[str, t.Any]) -> str:
    quoted = []
    for name, value in values.items():
        text = escaped(str(value))
        quote = "'" if '"' in text else '"'
        quoted.append(f"{name}={quote}{text}{quote}")
    return ",".join(quoted)


def _plain(value: t.Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(str(entry).strip() for entry in value)
    return str(value)


def section(kind: str, entry: Entry, log_dir: str) -> str:
    """One [program:x] or [eventlistener:x]. ``entry`` has no problems."""
    given = {key: value for key, value in entry.items() if value is not None}
    name = given["name"]
    several = int(given.get("numprocs", 1)) > 1
    process = "%(program_name)s-%(process_num)d" if several else "%(program_name)s"
    log = f"{log_dir}/{process}"
    if kind == "eventlistener":
        given.setdefault("stdout_logfile", "NONE")
        given.setdefault("stderr_logfile", f"{log}.log")
    else:
        given.setdefault("redirect_stderr", "stderr_logfile" not in given and not given.get("stderr_syslog"))
        given.setdefault("stdout_logfile", f"{log}.log")
        if not given["redirect_stderr"]:
            given.setdefault("stderr_logfile", f"{log}.err.log")
    lines = [f"[{kind}:{name}]", f"command={escaped(given['command'].strip())}", f"process_name={process}"]
    for setting in SETTINGS[kind]:
        if setting in ("name", "command", "group") or setting not in given:
            continue
        value = given[setting]
        if setting == "environment":
            if value:
                lines.append(f"environment={_environment_text(value)}")
        elif setting == "directory":
            lines.append(f"directory={escaped(value)}")
        elif setting == "autorestart":
            lines.append(f"autorestart={str(value).lower()}")
        else:
            lines.append(f"{setting}={_plain(value)}")
    return "\n".join(lines) + "\n"


def group_section(name: str, programs: t.Sequence[Entry]) -> str:
    """The [group:x] of several programs. It starts with the first of them."""
    priorities = [int(entry["priority"]) for entry in programs if entry.get("priority") is not None]
    lines = [f"[group:{name}]", "programs=" + ",".join(entry["name"] for entry in programs)]
    if priorities:
        lines.append(f"priority={min(priorities)}")
    return "\n".join(lines) + "\n"


def render(scope: str, programs: t.Sequence[Entry], listeners: t.Sequence[Entry], log_dir: str) -> dict[str, str]:
    """The files of a scope, by the group that each makes: one for each program, listener and group of programs."""
    groups: dict[str, list[Entry]] = {}
    texts: dict[str, str] = {}
    head = program_scope.head(scope)
    for entry in programs:
        if entry.get("group"):
            groups.setdefault(entry["group"], []).append(entry)
        else:
            texts[entry["name"]] = head + section("program", entry, log_dir)
    for name, members in groups.items():
        parts = [group_section(name, members), *(section("program", entry, log_dir) for entry in members)]
        texts[name] = head + "\n".join(parts)
    for entry in listeners:
        texts[entry["name"]] = head + section("eventlistener", entry, log_dir)
    return texts


def names_in(text: str) -> set[str]:
    """The programs, listeners and groups that a file of supervisor defines."""
    return set(re.findall(r"^\[(?:program|fcgi-program|eventlistener|group):([^\]]+)\]", text, re.MULTILINE))


#: As we write it, and as a person may have: with the lines that go on with it.
_ENVIRONMENT_LINE = re.compile(r"^environment[ \t]*[=:](.*(?:\n[ \t]+\S.*)*)$", re.MULTILINE | re.IGNORECASE)


def comparison(before: str, after: str) -> tuple[str, str]:
    """Two versions of a file as a diff may show them: of the environment, only names, and which values change."""
    old: dict[str, str] = {}
    for line in _ENVIRONMENT_LINE.findall(before):
        old.update(conf.variables(line))

    def hidden(found: re.Match[str]) -> str:
        return "environment=" + ",".join(f"{name}=..." for name in conf.variables(found.group(1)))

    def compared(found: re.Match[str]) -> str:
        new = conf.variables(found.group(1))
        return "environment=" + ",".join(
            f"{name}=... (changed)" if name in old and old[name] != value else f"{name}=..."
            for name, value in new.items()
        )

    return _ENVIRONMENT_LINE.sub(hidden, before), _ENVIRONMENT_LINE.sub(compared, after)
