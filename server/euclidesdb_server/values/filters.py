"""Filters: typed trees of conditions on the fields of an item, and the fields that they refer to.

They are what the API's `Filter` says (`database.proto`), checked, with every name resolved. They
know nothing of how items are stored, so another engine can be handed them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TypeAlias


class PredictionValue(Enum):
    """What a model predicts for an item."""

    LABEL = "label"
    CONFIDENCE = "confidence"
    MARGIN = "margin"
    ENTROPY = "entropy"
    TOP_LABELS = "top_labels"
    VECTOR = "vector"
    STATE = "state"
    """An `EmbeddingState`, which every item has."""


@dataclass(frozen=True, slots=True)
class ItemId:
    """The id of an item."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute. path: its name; in nested objects with dots: "size.width"."""

    path: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model version predicts. space: the number of its space. labels: the names of its
    classes; empty if they are not known. others: the spaces of the other versions of the model, for
    its STATE.
    """

    space: int
    value: PredictionValue
    labels: tuple[str, ...] = ()
    others: tuple[int, ...] = ()


Field: TypeAlias = ItemId | Attribute | Prediction

Scalar: TypeAlias = bool | int | float | str | datetime
"""A value that a field is compared with. int: of 64 bits. float: not NaN. datetime: with a time
zone."""


class Operator(Enum):
    """How a field is compared with a value."""

    EQUAL = "="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="


@dataclass(frozen=True, slots=True)
class Comparison:
    """The field has a value of the same type, for which the comparison is true."""

    field: Field
    operator: Operator
    value: Scalar


@dataclass(frozen=True, slots=True)
class OneOf:
    """The field is equal to one of the values."""

    field: Field
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Exists:
    """The item has the field, and it is not null."""

    field: Field


@dataclass(frozen=True, slots=True)
class Prefix:
    """The field is a string that begins so."""

    field: Field
    prefix: str


@dataclass(frozen=True, slots=True)
class Contains:
    """The field is a list with an element that is equal to the value."""

    field: Field
    value: Scalar


@dataclass(frozen=True, slots=True)
class All:
    """Every one of them is met; true if there are none."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of them is met; false if there are none."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """It is not met."""

    filter: Filter


Filter: TypeAlias = Comparison | OneOf | Exists | Prefix | Contains | All | AnyOf | Not
