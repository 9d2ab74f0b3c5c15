"""What filters mean, in plain Python, and columns of plain Python items to compare with."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from euclidesdb_server.columns.field_values import FieldValues
from euclidesdb_server.values.filters import (
    All,
    AnyOf,
    Attribute,
    Comparison,
    Contains,
    Exists,
    Field,
    Filter,
    ItemId,
    Not,
    OneOf,
    Operator,
    Prediction,
    PredictionValue,
    Prefix,
    Scalar,
)

COMPARISONS: dict[Operator, Callable[[Any, Any], bool]] = {
    Operator.EQUAL: operator.eq,
    Operator.LESS: operator.lt,
    Operator.LESS_OR_EQUAL: operator.le,
    Operator.GREATER: operator.gt,
    Operator.GREATER_OR_EQUAL: operator.ge,
}
TIME = re.compile(
    r"\d{4}-\d\d-\d\d([T ](?!24)\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d(:?[0-5]\d)?)?)?", re.ASCII
)


@dataclass(frozen=True)
class PlainItem:
    """An item as a filter sees it.

    attributes: as `json.loads` returns them. predictions: by the number of the space and the kind.
    """

    id: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    predictions: Mapping[tuple[int, PredictionValue], Any] = field(default_factory=dict)


def value_of(item: PlainItem, named: Field) -> Any:
    """The value of a field; None if it is missing. An int that needs more than 64 bits is a float,
    as it is for the server.
    """
    match named:
        case ItemId():
            return item.id
        case Prediction(space, value, _):
            return item.predictions.get((space, value))
        case Attribute(path):
            found: Any = item.attributes
            for key in path.split("."):
                found = found.get(key) if isinstance(found, Mapping) else None
            return [*map(_narrowed, found)] if isinstance(found, list) else _narrowed(found)


def matches(condition: Filter, item: PlainItem) -> bool:
    """Whether an item meets a filter."""
    match condition:
        case All(filters):
            return all(matches(each, item) for each in filters)
        case AnyOf(filters):
            return any(matches(each, item) for each in filters)
        case Not(negated):
            return not matches(negated, item)
        case Comparison(named, operation, literal):
            return _compare(operation, value_of(item, named), literal)
        case OneOf(named, literals):
            value = value_of(item, named)
            return any(_compare(Operator.EQUAL, value, literal) for literal in literals)
        case Exists(named):
            return value_of(item, named) is not None
        case Prefix(named, prefix):
            value = value_of(item, named)
            return isinstance(value, str) and value.startswith(prefix)
        case Contains(named, literal):
            value = value_of(item, named)
            elements = value if isinstance(value, list) else []
            return any(_compare(Operator.EQUAL, element, literal) for element in elements)


def time_of(text: str) -> datetime | None:
    """The time that a string stands for; None if it is not a time."""
    if not TIME.fullmatch(text):
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _compare(operation: Operator, value: Any, literal: Scalar) -> bool:
    if isinstance(literal, datetime):
        time = time_of(value) if isinstance(value, str) else None
        return time is not None and COMPARISONS[operation](time, literal)
    if _kind(value) is not _kind(literal):
        return False
    if isinstance(literal, bool) and operation is not Operator.EQUAL:
        return False
    return COMPARISONS[operation](value, literal)


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)


def _narrowed(value: Any) -> Any:
    if type(value) is not int or -(2**63) <= value < 2**63:
        return value
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


class ItemColumns:
    """`Columns` of some of the items of a sequence: its arrays are slices, as those of blocks are.

    rows: of the sequence; None: all.
    """

    def __init__(self, items: Sequence[PlainItem], rows: slice | None = None) -> None:
        self._items = items
        self._start, self._stop, _ = (rows or slice(None)).indices(len(items))
        self.reads = 0

    def __len__(self) -> int:
        return self._stop - self._start

    def values(self, named: Field) -> FieldValues:
        """The values of a field."""
        self.reads += 1
        whole = field_values([value_of(item, named) for item in self._items])
        arrays = {each.name: getattr(whole, each.name) for each in fields(whole)}
        return FieldValues(
            **{
                name: None if array is None else array.slice(self._start, len(self))
                for name, array in arrays.items()
            }
        )


def field_values(values: Sequence[Any]) -> FieldValues:
    """Values as `json.loads` returns them, by type."""
    return FieldValues(
        ints=_scalars(values, int, pa.int64()),
        floats=_scalars(values, float, pa.float64()),
        strings=_scalars(values, str, pa.string()),
        bools=_scalars(values, bool, pa.bool_()),
        lists_of_ints=_lists(values, int, pa.int64()),
        lists_of_floats=_lists(values, float, pa.float64()),
        lists_of_strings=_lists(values, str, pa.string()),
        lists_of_bools=_lists(values, bool, pa.bool_()),
        others=_array([_is_other(value) or None for value in values], pa.bool_()),
    )


def _scalars(values: Sequence[Any], kind: type, stored: pa.DataType) -> pa.Array | None:
    return _array([value if type(value) is kind else None for value in values], stored)


def _lists(values: Sequence[Any], kind: type, stored: pa.DataType) -> pa.Array | None:
    return _array([_elements(value, kind) for value in values], pa.list_(stored))


def _elements(value: Any, kind: type) -> list[Any] | None:
    if not isinstance(value, list):
        return None
    return [element for element in value if type(element) is kind] or None


def _is_other(value: Any) -> bool:
    if isinstance(value, list):
        return not value or not all(isinstance(each, int | float | str) for each in value)
    return isinstance(value, Mapping)


def _array(values: list[Any], kind: pa.DataType) -> pa.Array | None:
    return None if all(value is None for value in values) else pa.array(values, kind)
