"""The model: a logistic regression whose weights were fitted elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


class InvalidInput(ValueError):
    """The input cannot be scored; the message tells the caller what to change."""


@dataclass(frozen=True)
class Feature:
    """One input of the model: the range that it was fitted on, and its weight."""

    name: str
    minimum: float
    maximum: float
    weight: float

    def read(self, values: Mapping[str, object]) -> float:
        """Return this feature's value. Raise InvalidInput if it is not a number in range."""
        if self.name not in values:
            raise InvalidInput(f"{self.name} is missing")
        value = values[self.name]
        # bool is an int in Python, but true is no distance.
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InvalidInput(f"{self.name} must be a number")
        # NaN, which Python's JSON reader accepts, fails this comparison too.
        if not self.minimum <= value <= self.maximum:
            raise InvalidInput(f"{self.name} must be from {self.minimum:g} to {self.maximum:g}")
        return float(value)


class LateDelivery:
    """The probability that a delivery arrives late."""

    features = (
        Feature("distance_km", minimum=0, maximum=500, weight=0.018),
        Feature("items", minimum=1, maximum=200, weight=0.05),
        Feature("rain_mm", minimum=0, maximum=100, weight=0.11),
    )
    bias = -2.2

    def probability(self, values: object) -> float:
        """Return a number between 0 and 1. Raise InvalidInput if `values` cannot be scored."""
        if not isinstance(values, Mapping):
            raise InvalidInput("the body must be a JSON object")
        unknown = sorted(set(values) - {feature.name for feature in self.features})
        if unknown:
            raise InvalidInput(f"unknown field: {', '.join(unknown)}")
        score = self.bias + sum(feature.weight * feature.read(values) for feature in self.features)
        return 1 / (1 + math.exp(-score))
