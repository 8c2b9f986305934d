# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The release command as a user writes it: a text, a list of words, or a list of several commands."""

from __future__ import annotations

import shlex
import typing as t

from . import shell_text

Commands = tuple[tuple[str, ...], ...]


def commands_from(value: t.Any) -> Commands:
    """Split a value of flask_app_release_command into commands.

    :raises ValueError: with a sentence that says what is wrong and what to write
    """
    if isinstance(value, str):
        return (_split(value),) if value.strip() else ()
    if not isinstance(value, (list, tuple)):
        raise ValueError("write a command, such as flask db upgrade, or a list of them.")
    if value and all(isinstance(entry, str) for entry in value) and not any(map(str.isspace, value[0])):
        return (_checked(value),)
    return tuple(_split(entry) if isinstance(entry, str) else _checked(entry) for entry in value)


def text_of(commands: Commands) -> str:
    """The commands as a person would type them."""
    return "; ".join(map(shlex.join, commands))


def _split(text: str) -> tuple[str, ...]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{text!r} cannot be split into words: {error}. Write the closing quote.") from None
    _refuse(shell_text.found_in(text))
    return _checked(words)


def _checked(words: t.Any) -> tuple[str, ...]:
    if not isinstance(words, (list, tuple)) or not words or not words[0]:
        raise ValueError("a command is empty, or no list of words. Write one such as flask db upgrade.")
    for word in words:
        if not isinstance(word, str):
            raise ValueError(f"the word {word!r} of a command is no text. Put it in quotes.")
    _refuse(shell_text.found_in(words))
    return tuple(words)


def _refuse(part: str) -> None:
    if part:
        raise ValueError(
            f"{part} means something to a shell only, and no shell runs it. Write a list of commands, or [sh, -c, 'TEXT']; or put it in"
            " quotes if it is no more than a text."
        )
