"""Filters on predicted labels as filters on class numbers, which are compared without their names."""

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
    Scalar,
)

_DIGITS: Final = 9
"""No model has more classes than that many digits can number."""


def by_class(condition: Filter) -> Filter:
    """A filter that the same items match."""
    match condition:
        case All(filters):
            return All(tuple(map(by_class, filters)))
        case AnyOf(filters):
            return AnyOf(tuple(map(by_class, filters)))
        case Not(inner):
            return Not(by_class(inner))
        case Comparison(field, Operator.EQUAL, value) if _is_named(field):
            return OneOf(replace(field, labels=()), _classes(field, (value,)))
        case OneOf(field, values) if _is_named(field):
            return OneOf(replace(field, labels=()), _classes(field, values))
        case Contains(field, value) if _is_named(field):
            classes = _classes(field, (value,))
            unnamed = replace(field, labels=())
            return AnyOf(tuple(Contains(unnamed, number) for number in classes))
    return condition


def _is_named(field: Field) -> bool:
    return isinstance(field, Prediction) and bool(field.labels)


def _classes(field: Field, values: tuple[Scalar, ...]) -> tuple[int, ...]:
    """The classes with some names; those past the last named one have their number as name."""
    assert isinstance(field, Prediction)
    found = [number for number, name in enumerate(field.labels) if name in values]
    for value in values:
        if isinstance(value, str) and len(value) <= _DIGITS and value.isdecimal():
            number = int(value)
            if number >= len(field.labels) and str(number) == value:
                found.append(number)
    return tuple(found)
