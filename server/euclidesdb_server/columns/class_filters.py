"""Filters on predicted labels as filters on classes, which are compared without their names."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from euclidesdb_server.values.filters import (
    All,
    AnyOf,
    Comparison,
    Contains,
    Field,
    Filter,
    Not,
    OneOf,
    Operator,
    Prediction,
    PredictionValue,
    Scalar,
)

_NAMED: Final = (PredictionValue.LABEL, PredictionValue.TOP_LABELS)
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
        case Comparison(field, Operator.EQUAL, value) | Contains(field, value):
            found = _of_classes(condition, field, (value,))
        case OneOf(field, values):
            found = _of_classes(condition, field, values)
    return found


def _of_classes(condition: Filter, field: Field, values: tuple[Scalar, ...]) -> Filter:
    if not isinstance(field, Prediction) or field.value not in _NAMED or not field.labels:
        return condition
    unnamed = replace(field, labels=())
    classes = _classes(field.labels, values)
    if isinstance(condition, Contains):
        return AnyOf(tuple(Contains(unnamed, number) for number in classes))
    return OneOf(unnamed, classes)


def _classes(labels: tuple[str, ...], values: tuple[Scalar, ...]) -> tuple[int, ...]:
    """The classes with some names; those past the last named one have their number as name."""
    wanted = {value for value in values if isinstance(value, str)}
    found = [number for number, name in enumerate(labels) if name in wanted]
    for value in values:
        if isinstance(value, str) and len(value) <= _DIGITS and value.isdecimal():
            number = int(value)
            if number >= len(labels) and str(number) == value:
                found.append(number)
    return tuple(found)
