# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules about the jobs of an app."""

from __future__ import annotations

import difflib
import re
import shlex
import typing as t
from collections.abc import Iterator

from ..text import shown
from .rules import Values, between, rule
from .value_types import check_characters, check_type, typed, yaml_kind

_TYPES = {"name": "str", "schedule": "str", "command": "str", "timeout": "int", "persistent": "bool", "host": "str"}
_REQUIRED = ("name", "schedule", "command")
_LONGEST = 7 * 86400
_DAY = "(?:Mon|Tue(?:s)?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?"
#: A calendar of systemd (systemd.time(7)). What exactly it takes, the host's own systemd says before anything of the app is touched.
_CALENDAR = re.compile(
    r"(?i:(?:minutely|hourly|daily|weekly|monthly|quarterly|semiannually|yearly|annually)"
    rf"|(?:{_DAY}(?:(?:,|\.\.){_DAY})*,?)?(?:(?:^|\s+)[\d*][\d*,./~-]*-[\d*,./~-]+)?(?:(?:^|\s+)[\d*][\d*,./]*:[\d*,./]+(?::[\d*,./]+)?)?)"
    r"(?:\s+(?:UTC|[A-Za-z_]+/[A-Za-z_/+-]+))?"
)
_SHORTCUTS = {"@hourly": "hourly", "@daily": "daily", "@midnight": "daily", "@weekly": "weekly", "@monthly": "monthly"}
_SHORTCUTS.update({"@yearly": "yearly", "@annually": "yearly"})
_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@rule("flask_app_jobs")
def check_jobs(jobs: list[dict]) -> Iterator[str]:
    """The problems of each job by itself, and names that come twice."""
    seen: set[str] = set()
    for number, job in enumerate(jobs, 1):
        name = job.get("name")
        is_name = isinstance(name, str) and re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", name)
        subject = name if is_name else f"entry {number}"
        yield from (f"{subject}: {text}" for text in _job(job))
        if "name" in job and not is_name:
            yield f"{subject}: name is {shown(name)}. Write lower-case letters, digits, - and _, beginning with a letter, 31 at most."
        elif name in seen:
            yield f"{subject}: there are two jobs of this name. Give one of them another."
        seen.add(subject)


def _job(job: dict[str, t.Any]) -> Iterator[str]:
    for setting in _REQUIRED:
        if setting not in job:
            yield f"it has no {setting}. Write one."
    for setting, value in job.items():
        if setting not in _TYPES:
            near = difflib.get_close_matches(str(setting), _TYPES, 1)
            yield f"{shown(setting)} is no setting of a job; {f'is {near[0]} meant? Correct it.' if near else 'write one of ' + ', '.join(_TYPES) + '.'}"
        elif setting == "command":
            yield from (f"command: {text}" for text in _command(value))
        else:
            found = list(check_type(_TYPES[setting], {}, value)) or list(check_characters(value, ascii_only=True))
            found = found or list(_setting(setting, typed({"type": _TYPES[setting]}, value)))
            yield from (f"{setting} is {shown(value)}: {text}" for text in found)


def _setting(setting: str, value: t.Any) -> Iterator[str]:
    if setting == "timeout" and not 1 <= value <= _LONGEST:
        yield f"write a number from 1 to {_LONGEST} (seconds)."
    elif setting == "host" and value not in ("all", "first"):
        yield "write all or first."
    elif setting == "schedule":
        yield from _schedule(value)


def _command(value: t.Any) -> Iterator[str]:
    words = value
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError as error:
            yield f"{shown(value)} cannot be taken apart: {error}. Close the quote, or write a list of words."
            return
    if not isinstance(words, (list, tuple)):
        yield f"write a text or a list of words; this is {yaml_kind(value)}."
    elif not words:
        yield "it is empty. Write the program and its arguments."
    elif not all(isinstance(word, str) for word in words):
        yield "a word of it is no text. Put it in quotes."
    else:
        yield from check_characters(words, ascii_only=False)
        if any(word in ("|", "||", "&&", ";", ">", ">>", "<", "2>&1") for word in words):
            yield f"no shell reads it, so {shown(' '.join(words))} would not do what it says. Write sh -c '...', or a script."


def _schedule(text: str) -> Iterator[str]:
    calendar = calendar_of_cron(text)
    if calendar:
        yield f"that is a line of cron. systemd writes it {calendar!r}: write that."
    elif calendar is not None:
        yield (
            "that is a line of cron which systemd cannot say in one (day of the month or day of the week): write two jobs, such as"
            " '*-*-01 03:00:00' and 'Mon *-*-* 03:00:00'."
        )
    elif not text.strip() or not _CALENDAR.fullmatch(text.strip()):
        yield "that is no calendar of systemd. Write one such as '*-*-* 03:00:00', 'Mon..Fri 06:30', '*:0/10' or 'hourly' (systemd.time(7))."


def calendar_of_cron(text: str) -> str | None:
    """The calendar of systemd for a line of cron; None if it is not such a line, empty if systemd cannot say it in one."""
    if text.strip().lower() in _SHORTCUTS:
        return _SHORTCUTS[text.strip().lower()]
    fields = text.split()
    if len(fields) != 5:
        return None
    minute, hour, day, month, weekday = fields
    try:
        days = ",".join(_weekdays(part) for part in weekday.split(",")) if weekday != "*" else ""
        date = f"*-{_numbers(month, 1, 12, _MONTHS)}-{_numbers(day, 1, 31)}"
        time = f"{_numbers(hour, 0, 23)}:{_numbers(minute, 0, 59)}:00"
    except ValueError:
        return None
    if days and day != "*":  # cron runs on either of them, systemd on days that are both
        return ""
    return f"{days} {date} {time}".strip()


def _numbers(field: str, least: int, most: int, names: tuple[str, ...] = ()) -> str:
    """One field of a line of cron as systemd writes it."""
    return ",".join(_part(part, least, most, names) for part in field.split(","))


def _part(part: str, least: int, most: int, names: tuple[str, ...]) -> str:
    values, _slash, step = part.partition("/")
    if _slash and not (step.isdigit() and int(step) > 0):
        raise ValueError(part)
    if values == "*":
        return f"{least if least else 0}/{step}" if step else "*"
    first, dash, last = values.partition("-")
    numbers = [_number(word, least, most, names) for word in ([first, last] if dash else [first])]
    shown_part = "..".join(f"{number:02d}" for number in numbers)
    return f"{shown_part}/{step}" if step else shown_part


def _number(word: str, least: int, most: int, names: tuple[str, ...]) -> int:
    number = names.index(word.lower()) if word.lower() in names[1:] else int(word)
    if not least <= number <= most:
        raise ValueError(word)
    return number


def _weekdays(part: str) -> str:
    if "/" in part:
        raise ValueError(part)
    short = [day.lower() for day in _DAYS[:7]]
    numbers = [short.index(word.lower()) if word.lower() in short else int(word) for word in part.split("-")]
    if len(numbers) > 2 or not all(0 <= number <= 7 for number in numbers):
        raise ValueError(part)
    if len(numbers) == 2 and numbers[0] == 0:  # systemd's week begins on Monday
        return f"Sun,Mon..{_DAYS[numbers[1]]}" if 1 < numbers[1] < 7 else ("Sun,Mon" if numbers[1] == 1 else "Mon..Sun")
    return "..".join(_DAYS[number] for number in numbers)


@between
def _names_of_jobs(values: Values) -> Iterator[tuple[str, str]]:
    """A job, a program and an app are called by one name each: people would take one for the other."""
    taken = {values["flask_app_name"]: "the app"}
    taken.update({entry["name"]: "a program of supervisor_programs" for entry in values["supervisor_programs"]})
    for job in values["flask_app_jobs"]:
        if job["name"] in taken:
            yield "flask_app_jobs", f"has the name {job['name']}, which {taken[job['name']]} has. Choose another."
