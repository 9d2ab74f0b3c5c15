"""Record batches as batches of rows: of the size that an import sends at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from euclidesdb._arrow import pyarrow
from euclidesdb._arrow_rows import ArrowColumns
from euclidesdb._item_rows import FAILURE, PREDICTIONS, READY_MADE, BadRow, Row, VectorColumn
from euclidesdb._row_batches import ROWS_AT_A_TIME, RowColumns, Wants

BYTES_AT_A_TIME: Final = 4 << 20
TEXTS: Final = ("attributes_json", "metadata")


class ArrowBatch:
    """See RowBatch."""

    def __init__(self, columns: ArrowColumns, batch: Any) -> None:
        self._columns = columns
        self._batch = batch
        self._names = {*batch.schema.names}

    def rows(self) -> Iterator[Row | BadRow]:
        """See RowBatch."""
        return self._columns.rows(self._batch)

    def columns(self, wants: Wants) -> RowColumns | None:
        """See RowBatch."""
        found = self._single_vectors(wants)
        if found is None or self._has_null("id") or not self._are_whole(TEXTS):
            return None
        name, column = found
        try:
            vectors = _matrix(self._batch.column(name))
            if vectors is None or not wants.as_columns(column, vectors.shape[1]):
                return None
            texts = [self._values(each) if self._has(each) else None for each in TEXTS]
            return RowColumns(column, self._values("id"), vectors, *texts)
        except (TypeError, ValueError, pyarrow().ArrowException):
            return None  # reading it row by row says what is wrong

    def _single_vectors(self, wants: Wants) -> tuple[str, VectorColumn] | None:
        """The column of vectors, if each row has one, ready-made, and nothing that goes with it."""
        if self._has("payload_kind") or self._has("payload_digest"):
            return None
        given = [
            (name, column)
            for name, column in self._columns.vectors.items()
            if (self._has(name) or self._has(FAILURE + column.name)) and wants(column)
        ]
        if len(given) != 1:
            return None
        ((name, column),) = given
        is_alone = not (self._has(FAILURE + column.name) or self._has(PREDICTIONS + column.name))
        if not is_alone or self._has_null(name) or not self._is_true(READY_MADE + column.name):
            return None
        return name, column

    def _are_whole(self, names: Iterable[str]) -> bool:
        """Whether each of the columns, if it is there, has a value in every row or in none."""
        return not any(self._has(name) and self._has_null(name) for name in names)

    def _has(self, name: str) -> bool:
        """Whether there is a column of this name that is not all null."""
        return name in self._names and self._batch.column(name).null_count < self._batch.num_rows

    def _has_null(self, name: str) -> bool:
        return bool(self._batch.column(name).null_count)

    def _is_true(self, name: str) -> bool:
        """Whether no row of a column of flags is false; also if there is no such column."""
        if not self._has(name):
            return True
        flags = self._batch.column(name)
        return bool(pyarrow().types.is_boolean(flags.type)) and not flags.false_count

    def _values(self, name: str) -> Any:
        arrow = pyarrow()
        kind = arrow.binary() if name == "metadata" else arrow.string()
        return self._batch.column(name).cast(kind).to_pylist()


def arrow_batches(columns: ArrowColumns, batches: Iterable[Any]) -> Iterator[ArrowBatch]:
    """Record batches, however large they are, as batches of rows."""
    waiting, rows, size = list[Any](), 0, 0
    for whole in batches:
        for start in range(0, whole.num_rows, ROWS_AT_A_TIME):
            part = whole.slice(start, ROWS_AT_A_TIME)
            added = part.nbytes
            if waiting and (
                rows + part.num_rows > ROWS_AT_A_TIME or size + added > BYTES_AT_A_TIME
            ):
                yield ArrowBatch(columns, _joined(waiting))
                waiting, rows, size = [], 0, 0
            waiting.append(part)
            rows += part.num_rows
            size += added
    if waiting:
        yield ArrowBatch(columns, _joined(waiting))


def _joined(parts: list[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    (joined,) = pyarrow().Table.from_batches(parts).combine_chunks().to_batches()
    return joined


def _matrix(column: Any) -> npt.NDArray[np.float32] | None:
    """The vectors of a column without nulls, if they are of one length."""
    arrow, count = pyarrow(), len(column)
    values = column.flatten()
    if arrow.types.is_fixed_size_list(column.type):
        dim = column.type.list_size
    else:
        lengths = np.diff(column.offsets.to_numpy())
        dim = int(lengths[0])
        if (lengths != dim).any():
            return None
    if not dim:
        return None
    floats = values.cast(arrow.float32(), safe=False).to_numpy(zero_copy_only=False)
    matrix: npt.NDArray[np.float32] = floats.reshape(count, dim)
    return matrix
