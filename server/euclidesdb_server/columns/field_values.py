"""FieldValues: the values of one field in the rows of a block, by type."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from euclidesdb_server.values.filters import Field


@dataclass(frozen=True, slots=True)
class FieldValues:
    """The values of a field in n rows, in an array of n for each type that occurs; None: for none.

    An array is null in the rows whose value is missing, null, or of another type. JSON's numbers
    are ints if they are whole and have 64 bits, else floats. lists_of...: the elements of a type,
    in the rows whose value is a list with such elements. others: true in the rows whose value is
    an object, or a list that is empty or has other elements besides (null, lists, objects): such
    values exist, and equal nothing.
    """

    ints: pa.Int64Array | None = None
    floats: pa.DoubleArray | None = None
    strings: pa.StringArray | None = None
    bools: pa.BooleanArray | None = None
    lists_of_ints: pa.ListArray | None = None
    lists_of_floats: pa.ListArray | None = None
    lists_of_strings: pa.ListArray | None = None
    lists_of_bools: pa.ListArray | None = None
    others: pa.BooleanArray | None = None

    def take(self, rows: npt.NDArray[np.int64] | pa.Array) -> FieldValues:
        """The values of some rows; none for null."""
        places = rows if isinstance(rows, pa.Array) else pa.array(rows)
        arrays = ((each.name, getattr(self, each.name)) for each in fields(self))
        return FieldValues(
            **{name: array.take(places) for name, array in arrays if array is not None}
        )


@dataclass(frozen=True, slots=True)
class SparseValues:
    """The values of a field that few rows have. rows: those, ascending; values: of each of them."""

    rows: npt.NDArray[np.int64]
    values: FieldValues

    def in_all(self, count: int) -> FieldValues:
        """The values in `count` rows."""
        places = np.zeros(count, np.int64)
        missing = np.ones(count, np.bool_)
        places[self.rows] = np.arange(len(self.rows))
        missing[self.rows] = False
        return self.values.take(pa.array(places, mask=missing))


class Columns(Protocol):
    """Rows with fields. Immutable."""

    def __len__(self) -> int: ...

    def values(self, field: Field) -> FieldValues:
        """The values of a field in all rows."""
