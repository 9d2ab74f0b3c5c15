"""The write of many new items by columns: what it adds to a batch, as `put_item` would.

This is where a bulk load spends its time, so keys and values are made a column at a time: as rows
of a matrix of bytes, which NumPy cuts into as many `bytes`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Final

import msgpack
import numpy as np
import numpy.typing as npt

from euclidesdb_server.store import keys
from euclidesdb_server.store.reader import FLOAT32
from euclidesdb_server.values.arrays import Labels, as_labels
from euclidesdb_server.values.vector_columns import VectorColumns

_ARRAY_OF_SIX: Final = b"\x96"
_MAP_OF_ONE: Final = b"\x81"
_UNSIGNED: Final = (
    (1 << 7, b"", 1),
    (1 << 8, b"\xcc", 1),
    (1 << 16, b"\xcd", 2),
    (1 << 32, b"\xce", 4),
    (1 << 64, b"\xcf", 8),
)
"""How msgpack writes integers below a limit: a marker, then so many bytes, big-endian."""


@dataclass(frozen=True, slots=True)
class ColumnsWrite:
    """The write of items that are not stored yet, with a vector each and no payload.

    labels: of the rows of `columns`, ascending.
    """

    space: int
    labels: Sequence[int]
    columns: VectorColumns


def put_columns(batch: Any, write: ColumnsWrite) -> None:
    """Add new items to a plyvel.WriteBatch."""
    names = [*map(str.encode, write.columns.ids)]
    labels = as_labels(write.labels).astype(">u8")
    _put(batch, map(keys.ITEM.__add__, names), _records(write))
    _put(batch, _numbered(keys.LABEL, labels), names)
    _put(batch, _numbered(keys.space_prefix(keys.VECTOR, write.space), labels), _vectors(write))


def _put(batch: Any, names: Iterable[bytes], values: Iterable[bytes]) -> None:
    deque(map(batch.put, names, values), maxlen=0)


def _records(write: ColumnsWrite) -> Iterable[bytes]:
    """The values of the items' keys, as `ItemRecord.packed`."""
    columns = write.columns
    pack = msgpack.Packer().pack
    attributes = _packed(pack, columns.attributes_json, "{}")
    metadata = _packed(pack, columns.metadata, b"")
    before, after = _around_label(pack, write.space)
    if columns.attributes_json is None and columns.metadata is None:
        before = _ARRAY_OF_SIX + next(attributes) + next(metadata) + before
        return _with_labels(pack, before, write.labels, after)
    ends = _with_labels(pack, before, write.labels, after)
    return map(b"".join, zip(repeat(_ARRAY_OF_SIX), attributes, metadata, ends, strict=False))


def record_ends(space: int, labels: Labels) -> list[bytes]:
    """What follows the attributes and the metadata in the records of such items, in any order."""
    pack = msgpack.Packer().pack
    before, after = _around_label(pack, space)
    marker, size = _width(int(labels.min()))
    if (marker, size) != _width(int(labels.max())):
        return [before + pack(label) + after for label in labels.tolist()]
    return _numbered(before + marker, labels.astype(">u8"), after, size=size)


def _around_label(pack: Any, space: int) -> tuple[bytes, bytes]:
    return _MAP_OF_ONE + pack(space), pack(None) + pack(b"") + pack([space])


def _packed(pack: Any, column: Sequence[Any] | None, default: Any) -> Iterator[bytes]:
    return repeat(pack(default)) if column is None else map(pack, column)


def _with_labels(pack: Any, before: bytes, labels: Sequence[int], after: bytes) -> list[bytes]:
    """`before`, a label, packed, and `after`, for each label."""
    marker, size = _width(labels[0])
    if (marker, size) != _width(labels[-1]):
        return [before + pack(label) + after for label in labels]
    return _numbered(before + marker, as_labels(labels).astype(">u8"), after, size=size)


def _width(label: int) -> tuple[bytes, int]:
    return next((marker, size) for limit, marker, size in _UNSIGNED if label < limit)


def _numbered(
    before: bytes, numbers: npt.NDArray[np.uint64], after: bytes = b"", *, size: int = 8
) -> list[bytes]:
    """`before`, the last `size` bytes of a number, and `after`, for each number.

    numbers: big-endian.
    """
    start, end = len(before), len(before) + size
    table = np.empty((len(numbers), end + len(after)), np.uint8)
    table[:, :start] = np.frombuffer(before, np.uint8)
    table[:, start:end] = numbers.view(np.uint8).reshape(len(numbers), 8)[:, 8 - size :]
    table[:, end:] = np.frombuffer(after, np.uint8)
    return _rows(table)


def _vectors(write: ColumnsWrite) -> list[bytes]:
    return _rows(np.ascontiguousarray(write.columns.vectors, FLOAT32))


def _rows(table: npt.NDArray[Any]) -> list[bytes]:
    """The bytes of each row of a matrix in C order."""
    row = np.dtype((np.void, table.itemsize * table.shape[1]))
    rows: Any = table.view(row).ravel()
    cut: list[bytes] = rows.tolist()
    return cut
