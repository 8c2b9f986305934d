# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules about the jobs of an app."""

from __future__ import annotations

import difflib
import re
import shlex
import typing as t
from collections.abc import Iterator

from ...module_utils.release import shell_text
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
    r"(?:\s+[A-Z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*)?"
)
_SHORTCUTS = {"@hourly": "hourly", "@daily": "daily", "@midnight": "daily", "@weekly": "weekly", "@monthly": "monthly"}
_SHORTCUTS.update({"@yearly": "yearly", "@annually": "yearly"})
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
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
        part = shell_text.found_in(value if isinstance(value, str) else words)
        if part:
            yield (
                f"no shell reads it, so {shown(' '.join(words))} would not do what it says ({part} is for a shell). Write sh -c '...', or a"
                " script; or put it in quotes if it is no more than a text."
            )


def _schedule(text: str) -> Iterator[str]:
    fields = text.split()
    calendars = calendars_of_cron(text)
    if len(calendars) == 2:
        yield (
            "that is a line of cron which systemd cannot say in one (day of the month or day of the week): write two jobs, with"
            f" {calendars[0]!r} and {calendars[1]!r}."
        )
    elif calendars:
        yield f"that is a line of cron. systemd writes it {calendars[0]!r}: write that."
    elif text.strip().lower() == "@reboot":
        yield "systemd starts jobs by the clock. What is to start with the host and keep running is a program: flask_app_programs."
    elif re.match(r"[A-Za-z]", fields[5] if len(fields) > 5 else "") and calendars_of_cron(" ".join(fields[:5])):
        calendar = calendars_of_cron(" ".join(fields[:5]))[0]
        yield f"that is a line of a crontab. Its first five fields are {calendar!r} for systemd: write that; what follows belongs into command."
    elif not text.strip() or not _CALENDAR.fullmatch(text.strip()):
        yield "that is no calendar of systemd. Write one such as '*-*-* 03:00:00', 'Mon..Fri 06:30', '*:0/10' or 'hourly' (systemd.time(7))."


def calendars_of_cron(text: str) -> list[str]:
    """The calendars of systemd for a line of cron: none if it is no such line, and two if systemd cannot say it in one."""
    if text.strip().lower() in _SHORTCUTS:
        return [_SHORTCUTS[text.strip().lower()]]
    fields = text.split()
    if len(fields) != 5:
        return []
    minute, hour, day, month, weekday = fields
    try:
        days = _weekdays(weekday)
        month = _numbers(month, 1, 12, _MONTHS)
        date = _numbers(day, 1, 31)
        time = f"{_numbers(hour, 0, 23)}:{_numbers(minute, 0, 59)}:00"
    except ValueError:
        return []
    if not day.startswith("*") and not weekday.startswith(
        "*"
    ):  # cron runs on either of them, systemd on days that are both
        if not days:
            return [f"*-{month}-* {time}"]
        return [f"*-{month}-{date} {time}", f"{days} *-{month}-* {time}"]
    return [f"{days} *-{month}-{date} {time}".strip()]


def _numbers(field: str, least: int, most: int, names: tuple[str, ...] = ()) -> str:
    """One field of a line of cron as systemd writes it."""
    return ",".join(_part(part, least, most, names) for part in field.split(","))


def _part(part: str, least: int, most: int, names: tuple[str, ...]) -> str:
    values, slash, step = part.partition("/")
    if slash and not (step.isdigit() and int(step) > 0):
        raise ValueError(part)
    if values == "*":
        return f"{least}/{step}" if step else "*"
    first, dash, last = values.partition("-")
    numbers = [_number(word, least, most, names) for word in ([first, last] if dash else [first])]
    if numbers[-1] < numbers[0]:
        raise ValueError(part)
    shown_part = "..".join(f"{number:02d}" for number in numbers)
    return f"{shown_part}/{step}" if step else shown_part


def _number(word: str, least: int, most: int, names: tuple[str, ...]) -> int:
    number = names.index(word.lower()) if word.lower() in names else int(word)
    if not least <= number <= most:
        raise ValueError(word)
    return number


def _weekdays(field: str) -> str:
    """The days of the week as systemd writes them, whose week begins on Monday; empty for all of them."""
    chosen: set[int] = set()
    for part in field.split(","):
        values, slash, step = part.partition("/")
        first, dash, last = ("0", "-", "6") if values == "*" else values.partition("-")
        start = _number(first, 0, 7, _DAYS)
        end = _number(last, 0, 7, _DAYS) if dash else 6 if slash else start
        if end < start or (slash and not (step.isdigit() and int(step))):
            raise ValueError(part)
        chosen |= {(number - 1) % 7 for number in range(start, end + 1, int(step or 1))}
    if len(chosen) == 7:
        return ""
    runs: list[list[int]] = []
    for number in sorted(chosen):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join("..".join(_DAYS[day + 1].title() for day in dict.fromkeys((run[0], run[-1]))) for run in runs)


@between
def _names_of_jobs(values: Values) -> Iterator[tuple[str, str]]:
    """A job, a program and an app are called by one name each: people would take one for the other."""
    taken = {values["flask_app_name"]: "the app"}
    taken.update({entry["name"]: "a program of supervisor_programs" for entry in values["supervisor_programs"]})
    for job in values["flask_app_jobs"]:
        if job["name"] in taken:
            yield "flask_app_jobs", f"has the name {job['name']}, which {taken[job['name']]} has. Choose another."
