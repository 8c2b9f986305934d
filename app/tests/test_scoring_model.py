"""The model scores what it was fitted on and refuses the rest."""

import math

import pytest

from scoring.model import InvalidInput, LateDelivery

DELIVERY = {"distance_km": 10, "items": 2, "rain_mm": 0}


def test_the_probability_is_the_logistic_of_the_weighted_sum():
    expected = 1 / (1 + math.exp(2.2 - 0.018 * 10 - 0.05 * 2))

    assert LateDelivery().probability(DELIVERY) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["distance_km", "items", "rain_mm"])
def test_more_of_anything_makes_a_delivery_later(name):
    model = LateDelivery()

    assert model.probability({**DELIVERY, name: 50}) > model.probability(DELIVERY)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"items": "2"}, "items must be a number"),
        ({"items": None}, "items must be a number"),
        ({"items": True}, "items must be a number"),
        ({"items": 0}, "items must be from 1 to 200"),
        ({"distance_km": 500.1}, "distance_km must be from 0 to 500"),
        ({"distance_km": 10**400}, "distance_km must be from 0 to 500"),
        ({"rain_mm": math.nan}, "rain_mm must be from 0 to 100"),
        ({"rain_mm": math.inf}, "rain_mm must be from 0 to 100"),
        ({"wind": 3, "snow": 1}, "unknown field: snow, wind"),
    ],
)
def test_input_that_cannot_be_scored_is_refused_with_the_reason(changes, message):
    with pytest.raises(InvalidInput) as raised:
        LateDelivery().probability({**DELIVERY, **changes})

    assert str(raised.value) == message


def test_a_missing_feature_is_named():
    with pytest.raises(InvalidInput, match="^items is missing$"):
        LateDelivery().probability({"distance_km": 10, "rain_mm": 0})


@pytest.mark.parametrize("values", [[], "text", 3, None])
def test_only_an_object_is_scored(values):
    with pytest.raises(InvalidInput, match="^the body must be a JSON object$"):
        LateDelivery().probability(values)
