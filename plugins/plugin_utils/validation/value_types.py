# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Types and characters of values."""

from __future__ import annotations

import difflib
import re
import typing as t
from collections.abc import Iterator

from ..text import foreign, shown, unseen

# Texts that Ansible takes for a boolean.
_YES = {"y", "yes", "on", "1", "true", "t"}
_NO = {"n", "no", "off", "0", "false", "f"}


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


def check_type(kind: str, option: dict, value: t.Any) -> Iterator[str]:
    if value is None:
        yield "it has no value (YAML's null). Give it one, or take the line out to get the default."
    elif kind in ("str", "path") and not isinstance(value, str):
        nought = value == 0 and isinstance(value, int) and not isinstance(value, bool)  # as sizes are
        if not (kind == "str" and nought and "choices" not in option):
            yield (
                f"YAML took it for {yaml_kind(value)}, which changes how it is written. Put the value in quotes."
                if not isinstance(value, (list, dict))
                else f"a text is expected, and this is {yaml_kind(value)}. Write one value."
            )
    elif kind == "int":
        if isinstance(value, bool) or not re.fullmatch(r"\s*[+-]?\d+\s*", str(value), re.ASCII):
            yield "write a whole number, without a unit."
    elif kind == "bool":
        if str(value).lower() not in _YES | _NO:
            yield "it is not a yes or no. Write true or false."
    elif kind == "list":
        if not isinstance(value, (list, tuple)):
            yield f"a list is expected, and this is {yaml_kind(value)}. Write each entry on a line of its own, after a dash."
        else:
            for number, entry in enumerate(value, 1):
                if option.get("elements") == "dict":
                    if not isinstance(entry, dict):
                        yield f"entry {number} is {yaml_kind(entry)}. Write its settings on lines NAME: VALUE."
                elif option.get("elements") == "raw":
                    continue
                elif not isinstance(entry, str):
                    yield f"entry {number} is {yaml_kind(entry)}, a text is expected. Put it in quotes."
                elif not entry.strip():
                    yield f"entry {number} is empty. Take it out."
    elif kind == "dict":
        if not isinstance(value, dict):
            yield f"names with values are expected, and this is {yaml_kind(value)}. Write a line NAME: VALUE for each."
        else:
            for key in value:
                if not isinstance(key, str):
                    yield f"the name {shown(key)} is {yaml_kind(key)}. Put it in quotes."
    for entry in value if isinstance(value, (list, tuple)) else [value]:
        if "choices" in option and isinstance(entry, str) and entry not in option["choices"]:
            near = difflib.get_close_matches(entry, option["choices"], 1)
            subject = "" if entry is value else f"{shown(entry)} is no choice: "
            yield f"{subject}write one of {', '.join(option['choices'])}{f'; is {near[0]} meant?' if near else '.'}"


def yaml_kind(value: t.Any) -> str:
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


def check_characters(value: t.Any, ascii_only: bool, where: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, entry in value.items():
            found = list(check_characters(key, True, f"the name {shown(key)}: "))
            yield from found or check_characters(entry, ascii_only, f"{where}{key}: ")
    elif isinstance(value, (list, tuple)):
        for number, entry in enumerate(value, 1):
            yield from check_characters(entry, ascii_only, f"{where}entry {number}: ")
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
