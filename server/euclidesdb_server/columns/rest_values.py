"""The values of attributes that have no columns: few rows have each, and they are kept as text.

What a filter asks of many of them is read in one pass, and tested in the rows that have them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from euclidesdb_server.columns.attribute_columns import (
    AttributeArrays,
    PathValue,
    arrays_of_one_type,
)
from euclidesdb_server.columns.field_values import FieldValues, SparseValues
from euclidesdb_server.values.stop import CheckStop, never_stop

FEW_PATHS: Final = 8
"""So many are looked for as text first, which takes 10 ms for 100,000 rows and each; more are found
by parsing all, in 200 ms."""
ROWS_AT_A_TIME: Final = 4096

_decode = msgspec.json.Decoder(list[tuple[str, Any]]).decode


def rest_values(
    rest: pa.StringArray, paths: Collection[str], check: CheckStop = never_stop
) -> dict[str, SparseValues]:
    """The values of those paths that some row has.

    rest: as `attribute_columns` makes it. check: called now and then; raises to end it.
    """
    wanted = {*paths}
    found: dict[str, list[tuple[int, Any]]] = {}
    for row, pairs in _parsed(rest, _rows(rest, wanted), check):
        for path, value in pairs:
            if path in wanted:
                found.setdefault(path, []).append((row, value))
    return {path: _sparse(values) for path, values in found.items()}


def _rows(rest: pa.StringArray, paths: Collection[str]) -> pa.Array:
    """The rows in which one of the paths may be."""
    if len(paths) > FEW_PATHS:
        return pc.indices_nonzero(rest.is_valid())
    matching = np.zeros(len(rest), np.bool_)
    for path in paths:
        rows = pc.indices_nonzero(pc.match_substring(rest, json.dumps(path)))
        matching[rows.to_numpy()] = True
    return pa.array(np.flatnonzero(matching))


def _parsed(
    rest: pa.StringArray, rows: pa.Array, check: CheckStop
) -> Iterator[tuple[int, list[PathValue]]]:
    for start in range(0, len(rows), ROWS_AT_A_TIME):
        check()
        part = rows.slice(start, ROWS_AT_A_TIME)
        for row, text in zip(part.to_pylist(), rest.take(part).to_pylist(), strict=True):
            try:
                yield row, _decode(text)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                yield row, json.loads(text)  # which reads more


def _sparse(values: list[tuple[int, Any]]) -> SparseValues:
    by_row: Mapping[int, Any] = dict(values)  # of several values of a row, the last one
    rows = np.array([*by_row], np.int64)
    arrays = arrays_of_one_type([*by_row.values()])
    if arrays is None:
        column = AttributeArrays(len(by_row))
        for place, value in enumerate(by_row.values()):
            column.put(place, value)
        arrays = column.arrays()
    return SparseValues(rows, FieldValues(**arrays))
