# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules about accelerators."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator

from ..text import shown
from .rules import Values, between, rule


@rule("flask_app_accelerators")
def _accelerators(values: list[t.Any]) -> Iterator[str]:
    for number, value in enumerate(values, 1):
        if isinstance(value, bool) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/,-]*", str(value)):
            yield (
                f"entry {number} is {shown(value)}. Write the number or the UUID of a device, or several in one text, such as"
                ' "0,1".'
            )


@rule("flask_app_accelerator_variable")
def _variable(value: str) -> Iterator[str]:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        yield "write the name of a variable of the environment, such as HIP_VISIBLE_DEVICES."
    elif re.match(r"(PYGUN|SUPERVISOR|GUNICORN|LISTEN)_|(PATH|HOME|TZ|PYTHON\w*|LD_\w+)$", value):
        yield "the variable has another meaning. Write the one that the app's library reads, such as HIP_VISIBLE_DEVICES."


@between
def _enough(values: Values) -> Iterator[tuple[str, str]]:
    entries, instances = values["flask_app_accelerators"], values["flask_app_instances"]
    _name, workers = values.gunicorn("workers", "flask_app_workers")
    given, kind, said = values["flask_app_gunicorn"], "worker", "flask_app_workers"
    if given.get("dirty_apps"):
        workers, kind, said = int(str(given.get("dirty_workers", 1)), 0), "dirty worker", "dirty_workers"
    needed = instances * max(1, workers)
    if entries and len(entries) < needed:
        each = f"{workers} {kind}{'s' if workers > 1 else ''}" if workers else "one worker at least"
        yield (
            "flask_app_accelerators",
            f"has {len(entries)} for {needed} {kind}s: {instances} instances (flask_app_instances) with {each} each"
            f" ({said}). Name more, or lower one of the two; an entry may occur twice, and then serves two workers.",
        )


@between
def _devices_to_see(values: Values) -> Iterator[tuple[str, str]]:
    private = str(values["supervisor_unit_options"].get("PrivateDevices", "true")).lower()
    if values["flask_app_accelerators"] and private in ("true", "yes", "on", "1", "y", "t"):
        yield (
            "flask_app_accelerators",
            "needs devices that supervisord's unit hides from its programs (PrivateDevices). The trial of a release would see them, and no"
            ' worker. Set supervisor_unit_options: {PrivateDevices: "false"} for the host; supervisord restarts once for it.',
        )


@between
def _not_shared(values: Values) -> Iterator[tuple[str, str]]:
    name, preload = values.gunicorn("preload_app", "flask_app_preload")
    if values["flask_app_accelerators"] and preload:
        yield (
            name,
            "imports the app once for all workers of an instance, and each shall have an accelerator of its own"
            " (flask_app_accelerators). Leave one of the two out.",
        )


@between
def _not_set_twice(values: Values) -> Iterator[tuple[str, str]]:
    variable = values["flask_app_accelerator_variable"]
    if values["flask_app_accelerators"] and variable in values["flask_app_env"]:
        yield (
            "flask_app_env",
            f"sets {variable}, which flask_app_accelerators sets for each worker. Take it out of one of the two.",
        )
