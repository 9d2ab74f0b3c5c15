"""Answers as tables: columns of Python values, and from them Arrow, pandas and polars."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, Self, SupportsIndex, TypeAlias, TypeVar, overload

import numpy as np

from euclidesdb._arrow import optional, pyarrow

Kind: TypeAlias = Literal[
    "text", "texts", "int", "float32", "float", "bytes", "vector", "labels", "any"
]
"""What a column holds. "any": values of JSON, from which its type follows."""

T = TypeVar("T")

PURPOSE: Final = "tables"


@dataclass(frozen=True, slots=True)
class Column:
    """values: one for each row; None where there is none."""

    name: str
    kind: Kind
    values: Sequence[Any]


class Tabular:
    """An answer with rows, which can be had as a table. docs/client.md lists the columns."""

    __slots__ = ()

    @abstractmethod
    def _table(self) -> list[Column]:
        """Its columns, with different names and the same number of rows."""

    def to_arrow(self) -> Any:
        """The rows as a `pyarrow.Table`. Raises ImportError without pyarrow."""
        return arrow_table(self._table())

    def to_pandas(self) -> Any:
        """The rows as a `pandas.DataFrame`. Raises ImportError without pandas or pyarrow."""
        optional("pandas", "pandas", "data frames of pandas")
        return self.to_arrow().to_pandas()

    def to_polars(self) -> Any:
        """The rows as a `polars.DataFrame`. Raises ImportError without polars or pyarrow."""
        polars = optional("polars", "polars", "data frames of polars")
        return polars.from_arrow(self.to_arrow())


class TabularTuple(tuple[T, ...], Tabular, Generic[T]):
    """A tuple with a table. A part of one, `values[:3]`, is one, too."""

    __slots__ = ()

    @overload
    def __getitem__(self, position: SupportsIndex) -> T: ...
    @overload
    def __getitem__(self, position: slice) -> Self: ...
    def __getitem__(self, position: SupportsIndex | slice) -> T | Self:
        if isinstance(position, slice):
            return type(self)(super().__getitem__(position))
        return super().__getitem__(position)

    def __reduce__(self) -> tuple[type[Self], tuple[tuple[T, ...]]]:
        return type(self), (tuple(self),)


def arrow_table(columns: Sequence[Column]) -> Any:
    """A `pyarrow.Table`. Columns of vectors are fixed-size lists if all have the same length."""
    arrow = pyarrow(purpose=PURPOSE)
    arrays = [_array(arrow, column) for column in columns]
    return arrow.table(arrays, names=[column.name for column in columns])


def _array(arrow: Any, column: Column) -> Any:
    match column.kind:
        case "vector":
            return _vectors(arrow, column.values)
        case "any":
            return arrow.array(column.values, _type(arrow, column.values))
    return arrow.array(column.values, _fixed_type(arrow, column.kind))


def _fixed_type(arrow: Any, kind: Kind) -> Any:
    label = [("label", arrow.string()), ("probability", arrow.float32())]
    types = {
        "text": arrow.string(),
        "texts": arrow.list_(arrow.string()),
        "int": arrow.int64(),
        "float32": arrow.float32(),
        "float": arrow.float64(),
        "bytes": arrow.binary(),
        "labels": arrow.list_(arrow.struct(label)),
    }
    return types[kind]


def _type(arrow: Any, values: Sequence[Any]) -> Any:
    """The type of a column that `attribute_columns` has made, whose values are all alike."""
    first = next((value for value in values if value is not None), None)
    if isinstance(first, list):
        element = next((each for value in values if value for each in value), None)
        return arrow.list_(arrow.null() if element is None else _scalar_type(arrow, element))
    return _scalar_type(arrow, first)


def _scalar_type(arrow: Any, value: Any) -> Any:
    match value:
        case bool():
            return arrow.bool_()
        case int():
            return arrow.int64()
        case float():
            return arrow.float64()
        case str():
            return arrow.string()
    return arrow.null()


def _vectors(arrow: Any, vectors: Sequence[Any]) -> Any:
    present = [vector for vector in vectors if vector is not None]
    dtype = np.result_type(*{each.dtype for each in present}) if present else np.dtype(np.float32)
    element = arrow.from_numpy_dtype(dtype)
    lengths = {len(each) for each in present}
    if len(lengths) != 1:
        return arrow.array(vectors, arrow.list_(element))
    (length,) = lengths
    values = np.zeros((len(vectors), length), dtype)
    missing = np.array([vector is None for vector in vectors])
    values[~missing] = present
    return arrow.FixedSizeListArray.from_arrays(
        arrow.array(values.reshape(-1)), length, mask=arrow.array(missing)
    )
