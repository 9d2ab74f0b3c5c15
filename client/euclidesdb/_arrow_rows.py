"""Rows of Arrow's record batches: of an export, or of Arrow and Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from euclidesdb._arrow import pyarrow
from euclidesdb._item_rows import (
    FAILURE,
    PREDICTIONS,
    READY_MADE,
    VECTOR,
    BadRow,
    Row,
    RowFailure,
    RowVector,
    VectorColumn,
    missing_column,
)


class ArrowColumns:
    """The columns of a schema that hold parts of items; others are ignored.

    named: further columns of vectors. path: of the file, for error messages.
    Raises ValueError if there is no column of ids, or a named one is missing.
    """

    def __init__(
        self, schema: Any, named: Mapping[str, VectorColumn] | None = None, path: object = "it"
    ) -> None:
        self._names = {*schema.names}
        for name in ("id", *(named or {})):
            if name not in self._names:
                raise missing_column(name, path, schema.names)
        self.vectors: dict[str, VectorColumn] = {}
        for schema_field in schema:
            if schema_field.name.startswith(VECTOR):
                name = schema_field.name.removeprefix(VECTOR)
                known = schema_field.metadata or {}
                model = known.get(b"model", name.encode()).decode()
                fingerprint = known.get(b"fingerprint", b"").decode()
                self.vectors[schema_field.name] = VectorColumn(name, model, fingerprint)
        self.vectors |= named or {}

    def rows(self, batch: Any) -> Iterator[Row | BadRow]:
        """The items of a batch. Raises TypeError or ValueError if a column is of another type."""
        count = batch.num_rows
        ids = self._texts(batch, "id")
        attributes = self._texts(batch, "attributes_json")
        metadata = self._bytes(batch, "metadata")
        kinds, payloads = self._texts(batch, "payload_kind"), self._bytes(batch, "payload")
        digests = self._bytes(batch, "payload_digest")
        columns = [
            (
                column,
                _floats(batch, name, count),
                _floats(batch, PREDICTIONS + column.name, count)
                if PREDICTIONS + column.name in self._names
                else [None] * count,
                batch.column(READY_MADE + column.name).to_pylist()
                if READY_MADE + column.name in self._names
                else [None] * count,
                self._failures(batch, column),
            )
            for name, column in self.vectors.items()
        ]
        for row in range(count):
            item_id = ids[row]
            if item_id is None:
                yield BadRow("", ValueError("its id is null"))
                continue
            yield Row(
                item_id,
                attributes[row],
                metadata[row],
                [
                    RowVector(column, vector, predictions[row], ready_made[row])
                    for column, vectors, predictions, ready_made, _ in columns
                    if (vector := vectors[row]) is not None
                ],
                kinds[row],
                payloads[row] or b"",
                digests[row] or b"",
                [failure for *_, failures in columns if (failure := failures[row]) is not None],
            )

    def _failures(self, batch: Any, column: VectorColumn) -> Sequence[RowFailure | None]:
        name = FAILURE + column.name
        if name not in self._names:
            return [None] * batch.num_rows
        try:
            return [
                None
                if found is None
                else RowFailure(column, found["reason"], found["message"], found["time"])
                for found in batch.column(name).to_pylist()
            ]
        except (KeyError, TypeError) as error:
            kind = batch.schema.field(name).type
            raise TypeError(
                f"column {name!r} must hold structs of reason, message and time, not {kind}"
            ) from error

    def _texts(self, batch: Any, name: str) -> Sequence[Any]:
        return self._values(batch, name, pyarrow().string())

    def _bytes(self, batch: Any, name: str) -> Sequence[Any]:
        return self._values(batch, name, pyarrow().binary())

    def _values(self, batch: Any, name: str, kind: Any) -> Sequence[Any]:
        if name not in self._names:
            return [None] * batch.num_rows
        column = batch.column(name)
        if column.type != kind:
            try:
                column = column.cast(kind)
            except pyarrow().ArrowException as error:
                raise TypeError(f"column {name!r} must hold {kind}, not {column.type}") from error
        values: list[Any] = column.to_pylist()
        return values


def _floats(batch: Any, name: str, count: int) -> list[npt.NDArray[np.float32] | None]:
    """The vectors of a column, None where there is none."""
    arrow = pyarrow()
    column, kind = batch.column(name), batch.column(name).type
    if arrow.types.is_fixed_size_list(kind):
        offsets = (np.arange(count + 1) + column.offset) * kind.list_size
    elif arrow.types.is_list(kind) or arrow.types.is_large_list(kind):
        offsets = column.offsets.to_numpy()
    else:
        raise TypeError(f"column {name!r} must hold lists of numbers, not {kind}")
    try:
        values = column.values.cast(arrow.float32(), safe=False).to_numpy(zero_copy_only=False)
    except arrow.ArrowException as error:
        raise TypeError(f"column {name!r} must hold lists of numbers, not {kind}") from error
    present = column.is_valid().to_numpy(zero_copy_only=False)
    bounds = offsets.tolist()
    return [values[bounds[row] : bounds[row + 1]] if present[row] else None for row in range(count)]
