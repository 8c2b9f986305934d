# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Registration of rules, and the values that they read."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterator

Rule = Callable[[t.Any], Iterator[str]]
RULES: dict[str, Rule] = {}
BETWEEN: list[Callable[[Values], Iterator[tuple[str, str]]]] = []


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
            RULES[name] = function
        return function

    return register


def between(function: Callable[[Values], Iterator[tuple[str, str]]]) -> Callable:
    """Register a rule about several variables."""
    BETWEEN.append(function)
    return function
