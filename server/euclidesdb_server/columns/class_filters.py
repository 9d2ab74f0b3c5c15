"""Filters on predicted labels as filters on classes, which are compared without their names."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from euclidesdb_server.values.filters import (
    All,
    AnyOf,
    Comparison,
    Contains,
    Filter,
    Not,
    OneOf,
    Operator,
    Prediction,
    Scalar,
)

_DIGITS: Final = 9
"""No model has more classes than that many digits can number."""


def by_class(condition: Filter) -> Filter:
    """A filter that the same items match."""
    found = condition
    match condition:
        case All(filters) | AnyOf(filters):
            found = type(condition)(tuple(map(by_class, filters)))
        case Not(inner):
            found = Not(by_class(inner))
        case Comparison(Prediction(_, _, labels) as field, Operator.EQUAL, value) | Contains(
            Prediction(_, _, labels) as field, value
        ) if labels:
            found = _of_classes(condition, field, (value,))
        case OneOf(Prediction(_, _, labels) as field, values) if labels:
            found = _of_classes(condition, field, values)
    return found


def _of_classes(condition: Filter, field: Prediction, values: tuple[Scalar, ...]) -> Filter:
    unnamed = replace(field, labels=())
    classes = _classes(field.labels, values)
    if isinstance(condition, Contains):
        return AnyOf(tuple(Contains(unnamed, number) for number in classes))
    return OneOf(unnamed, classes)


def _classes(labels: tuple[str, ...], values: tuple[Scalar, ...]) -> tuple[int, ...]:
    """The classes with some names; those past the last named one have their number as name."""
    found = [number for number, name in enumerate(labels) if name in values]
    for value in values:
        if isinstance(value, str) and len(value) <= _DIGITS and value.isdecimal():
            number = int(value)
            if number >= len(labels) and str(number) == value:
                found.append(number)
    return tuple(found)
