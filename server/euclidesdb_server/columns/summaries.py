"""Counts by value, and summaries of numbers, over the items of a selection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from euclidesdb_server.columns.field_values import FieldValues
from euclidesdb_server.columns.table_view import Selection
from euclidesdb_server.values.filters import Field

SCALARS = ("ints", "floats", "strings", "bools")


@dataclass(frozen=True, slots=True)
class ValueCounts:
    """The most frequent values of a field first. An element of a list counts as a value.

    other: the counts of all other values. missing: items without the field.
    """

    values: Sequence[bool | int | float | str]
    counts: Sequence[int]
    other: int
    missing: int


@dataclass(frozen=True, slots=True)
class NumberSummary:
    """Of `count` numbers; the others are None if there are none.

    standard_deviation: of these numbers, not an estimate for others.
    """

    count: int
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    standard_deviation: float | None = None
    median: float | None = None


def value_counts(selection: Selection, field: Field, limit: int) -> ValueCounts:
    """Count the items by the values of a field; return the `limit` most frequent."""
    parts = selection.values(field)
    found: list[tuple[int, int, bool | int | float | str]] = []
    total = 0
    for place, kind in enumerate(SCALARS):
        arrays = [array for part in parts for array in _elements(part, kind)]
        if not arrays:
            continue
        counted = pc.value_counts(pa.concat_arrays(arrays))
        counts = counted.field("counts").to_numpy()
        total += int(counts.sum())
        largest = np.argsort(-counts, kind="stable")[: limit + 1]
        if len(counts) > len(largest):  # of equally frequent ones, always the same
            largest = np.flatnonzero(counts >= counts[largest[-1]])
        values = counted.field("values").take(pa.array(largest)).to_pylist()
        found += [
            (-int(count), place, value)
            for count, value in zip(counts[largest], values, strict=True)
        ]
    found.sort()
    shown = found[:limit]
    others = sum(part.others.true_count for part in parts if part.others is not None)
    missing = len(selection) - sum(
        int(np.count_nonzero(_present(part, len(rows))))
        for part, (_, rows) in zip(parts, selection.parts, strict=True)
    )
    return ValueCounts(
        [value for _, _, value in shown],
        [-count for count, _, _ in shown],
        total + others + sum(count for count, _, _ in shown),
        missing,
    )


def number_summary(selection: Selection, field: Field) -> NumberSummary:
    """Summarize the numbers in a field."""
    found = [
        array.drop_null().cast(pa.float64(), safe=False).to_numpy()
        for part in selection.values(field)
        for array in (part.ints, part.floats)
        if array is not None
    ]
    numbers = np.concatenate(found) if found else np.empty(0)
    if not len(numbers):
        return NumberSummary(0)
    with np.errstate(all="ignore"):  # infinities have no deviation
        return NumberSummary(
            len(numbers),
            float(numbers.min()),
            float(numbers.max()),
            float(numbers.mean()),
            float(numbers.std()),
            float(np.median(numbers)),
        )


def value_groups(selection: Selection, field: Field) -> npt.NDArray[np.int64]:
    """A number for each item, the same for items with equal values; 0: it has no single value."""
    parts = selection.values(field)
    lengths = [len(rows) for _, rows in selection.parts]
    groups = np.zeros(len(selection), np.int64)
    used = 1
    for kind in SCALARS:
        arrays = [getattr(part, kind) for part in parts]
        if all(array is None for array in arrays):
            continue
        kind_of = next(array.type for array in arrays if array is not None)
        column = pa.concat_arrays(
            [
                pa.nulls(length, kind_of) if array is None else array
                for array, length in zip(arrays, lengths, strict=True)
            ]
        )
        encoded = column.dictionary_encode()
        there = column.is_valid().to_numpy(zero_copy_only=False)
        groups[there] = used + encoded.indices.drop_null().to_numpy()
        used += len(encoded.dictionary)
    return groups


def _elements(part: FieldValues, kind: str) -> list[pa.Array]:
    arrays = []
    if (scalars := getattr(part, kind)) is not None:
        arrays.append(scalars.drop_null())
    if (lists := getattr(part, f"lists_of_{kind}")) is not None:
        arrays.append(pc.list_flatten(lists))
    return arrays


def _present(part: FieldValues, rows: int) -> npt.NDArray[np.bool_]:
    """The rows that have the field."""
    present = np.zeros(rows, np.bool_)
    for each in fields(part):
        array = getattr(part, each.name)
        if array is not None:
            present |= array.is_valid().to_numpy(zero_copy_only=False)
    return present
