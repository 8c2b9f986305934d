# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules about memory."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..text import shown
from .rules import Values, between, rule

#: Megabytes that a gunicorn worker with an app of no size takes (a Flask app of a few lines, measured).
_EMPTY_WORKER = 25
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


def too_many_workers(values: Values, memory_mb: int) -> Iterator[tuple[str, str]]:
    name, workers = values.gunicorn("workers", "flask_app_workers")
    needed = workers * values["flask_app_instances"] * _EMPTY_WORKER
    if memory_mb and needed > memory_mb:
        yield (
            name,
            f"({workers}) times flask_app_instances ({values['flask_app_instances']}) are more workers than the host's {memory_mb} MB"
            f" can hold: even with an empty app they take about {needed} MB.",
        )
