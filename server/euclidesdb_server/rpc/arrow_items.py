"""Exported items as an Arrow IPC stream. docs/api.md describes the columns.

https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from euclidesdb_server.database.item_export import ExportedItems, ItemExport, ModelColumns
from euclidesdb_server.errors import CorruptRecord
from euclidesdb_server.store import SpaceRecord
from euclidesdb_server.store.record_columns import RecordColumns, Slices
from euclidesdb_server.values.failure import Failure

PIECE_BYTES: Final = 1 << 16
"""Of one reply at most. With pieces of a mebibyte, an export takes a tenth more of the processors:
they are in no cache when they are copied, and a client waits for each while the next is made."""
FORMAT: Final = b"1"
FAILURE: Final = pa.struct(
    {"reason": pa.string(), "message": pa.string(), "time": pa.timestamp("ms", "UTC")}
)
MAX_OFFSET: Final = (1 << 31) - 1
"""Of Arrow's arrays of bytes."""
END: Final = b"\xff\xff\xff\xff\0\0\0\0"
"""Of a stream, as the format has it."""


def arrow_stream(export: ItemExport) -> Iterator[bytes]:
    """The stream, in pieces. Raises as `ItemExport.batches`."""
    schema = _schema(export)
    yield from _pieces(schema.serialize())
    for items in export.batches():
        yield from _pieces(_batch(items, export, schema).serialize())
    yield END


def _pieces(message: pa.Buffer) -> Iterator[bytes]:
    for start in range(0, message.size, PIECE_BYTES):
        yield message.slice(start, min(PIECE_BYTES, message.size - start)).to_pybytes()


def _schema(export: ItemExport) -> pa.Schema:
    fields = [
        pa.field("id", pa.string(), nullable=False),
        pa.field("attributes_json", pa.string(), nullable=False),
        pa.field("metadata", pa.binary(), nullable=False),
    ]
    include = export.include
    for name, space in export.spaces.items():
        version = {"model": space.model, "fingerprint": space.fingerprint}
        kinds: dict[str, pa.DataType] = {}
        if include.vectors:
            kinds["vector"] = pa.list_(pa.float32(), space.feature_dim)
        if include.predictions:
            kinds["predictions"] = pa.list_(pa.float32())
        if kinds:
            kinds |= {"ready_made": pa.bool_(), "failure": FAILURE}
        fields += [pa.field(f"{kind}:{name}", of, metadata=version) for kind, of in kinds.items()]
    if include.payload:
        fields += [pa.field("payload_kind", pa.string()), pa.field("payload", pa.binary())]
    fields.append(pa.field("payload_digest", pa.binary()))
    return pa.schema(fields, metadata={"euclidesdb_items": FORMAT})


def _batch(items: ExportedItems, export: ItemExport, schema: pa.Schema) -> pa.RecordBatch:
    records = items.records
    arrays = [
        pa.array(items.ids, pa.string()),
        _texts(records),
        _bytes(records.metadata),
    ]
    for name, columns in items.models.items():
        arrays += _model_arrays(columns, export.spaces[name])
    if items.payloads is not None:
        kinds = [None if payload is None else payload.kind for payload in items.payloads]
        data = [None if payload is None else payload.data for payload in items.payloads]
        arrays += [pa.array(kinds, pa.string()), pa.array(data, pa.binary())]
    arrays.append(pa.array(records.digests(), pa.binary()))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _texts(records: RecordColumns) -> pa.Array:
    """The attributes. Raises CorruptRecord if they are not UTF-8."""
    try:
        return _bytes(records.attributes_json).cast(pa.string())
    except pa.ArrowInvalid:
        for item_id, value in zip(records.ids, records.attributes_json.values(), strict=True):
            try:
                value.decode()
            except UnicodeDecodeError as error:
                raise CorruptRecord(
                    f"the attributes of item {item_id!r} are not UTF-8: {error}"
                ) from error
        raise


def _bytes(slices: Slices) -> pa.Array:
    count, data = len(slices), slices.data
    if len(data) > MAX_OFFSET or not count:
        return pa.array(slices.values(), pa.binary())
    # an array of the slices and of what is between them, of which every second one is copied
    offsets = np.column_stack([slices.starts, slices.stops]).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    both = pa.Array.from_buffers(pa.binary(), 2 * count - 1, buffers)
    return both.take(pa.array(np.arange(0, 2 * count, 2)))


def _model_arrays(columns: ModelColumns, space: SpaceRecord) -> Iterator[pa.Array]:
    if columns.vectors is not None:
        yield _vectors(columns.vectors, space)
    if columns.predictions is not None:
        yield _predictions(columns.predictions)
    if columns.vectors is not None or columns.predictions is not None:
        yield pa.array(columns.ready_made, pa.bool_())
        yield _failures(columns.failures)


def _failures(failures: Sequence[Failure | None]) -> pa.Array:
    if failures.count(None) == len(failures):
        return pa.nulls(len(failures), FAILURE)
    return pa.array(
        [None if each is None else msgspec.structs.asdict(each) for each in failures], FAILURE
    )


def _vectors(rows: Sequence[bytes | None], space: SpaceRecord) -> pa.Array:
    size = 4 * space.feature_dim
    nothing = bytes(size)
    present = None not in rows
    rows_or_nothing: Any = rows if present else [row or nothing for row in rows]
    if {*map(len, rows_or_nothing)} - {size}:
        raise CorruptRecord(
            f"a vector of version {space.fingerprint!r} of model {space.model!r} has not "
            f"{space.feature_dim} numbers"
        )
    values = _floats(b"".join(rows_or_nothing))
    kind = pa.list_(pa.float32(), space.feature_dim)
    return pa.Array.from_buffers(kind, len(rows), [_validity(rows)], children=[values])


def _predictions(rows: Sequence[bytes | None]) -> pa.Array:
    if rows.count(None) == len(rows):  # as of a model that predicts nothing
        return pa.nulls(len(rows), pa.list_(pa.float32()))
    data = b"".join([row or b"" for row in rows])
    ends = np.fromiter(accumulate(len(row or b"") // 4 for row in rows), np.int32, len(rows))
    offsets = np.concatenate([np.zeros(1, np.int32), ends])
    buffers = [_validity(rows), pa.py_buffer(offsets)]
    return pa.Array.from_buffers(
        pa.list_(pa.float32()), len(rows), buffers, children=[_floats(data)]
    )


def _floats(data: bytes) -> pa.Array:
    return pa.Array.from_buffers(pa.float32(), len(data) // 4, [None, pa.py_buffer(data)])


def _validity(rows: Sequence[bytes | None]) -> pa.Buffer | None:
    """The bitmap of the rows that are not None; None if all are."""
    if None not in rows:
        return None
    present: npt.NDArray[Any] = np.array([row is not None for row in rows])
    return pa.py_buffer(np.packbits(present, bitorder="little"))
