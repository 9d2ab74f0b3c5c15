"""What the store knows of segments: which ones a space consists of, and which rows are deleted.

A segment is a folder of files, which can be lost, damaged, or left over from another state of the
store (a backup that was restored). So the store names each segment that it accepts, with the
checksum of its manifest, and no other is ever used. The names change in one atomic write.

Deleted rows are recorded first as tombstones, one key each, in the write that deletes them. From
time to time they are moved into a bitmap for each segment, in chunks, so that a start reads a few
large values instead of a million keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final

import msgpack
import numpy as np
import numpy.typing as npt

from euclidesdb_server.errors import CorruptRecord
from euclidesdb_server.store import keys
from euclidesdb_server.store.reader import StoreReader, unpack

CHUNK_ROWS: Final = 1 << 16
"""Rows in one chunk of a bitmap."""
CHUNK_BYTES: Final = CHUNK_ROWS // 8

Bits = npt.NDArray[np.uint8]
"""One bit per row (bit `row & 7` of byte `row >> 3`): whether it is deleted."""


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """A segment that a space consists of.

    checksum: of its manifest. after_label, up_to_label: it holds the rows with labels in
    (after_label, up_to_label] that were not deleted when it was built.
    """

    generation: int
    checksum: int
    after_label: int
    up_to_label: int


def read_segments(reader: StoreReader, space: int) -> list[SegmentRecord]:
    """The segments that a space consists of, in the order of their labels."""
    value = reader.value(keys.segments_key(space))
    return [] if value is None else unpack_segments(value, space)


def unpack_segments(value: bytes, space: int) -> list[SegmentRecord]:
    """The segments in the value of `segments_key`. Raises CorruptRecord."""
    what = f"the list of segments of space {space}"
    (fields,) = unpack(value, what, 1)
    try:
        return [SegmentRecord(*(int(number) for number in each)) for each in fields]
    except (TypeError, ValueError) as error:
        raise CorruptRecord(f"{what} has an unexpected form: {error}") from error


def read_deleted_rows(reader: StoreReader, space: int, generation: int, rows: int) -> Bits:
    """The bitmap of deleted rows of a segment of `rows` rows."""
    bits = np.zeros((rows + 7) // 8, np.uint8)
    first, last = (keys.deleted_rows_key(space, generation, chunk) for chunk in (0, (1 << 32) - 1))
    for key, value in reader.between(first, last):
        start = keys.chunk_of(key)[1] * CHUNK_BYTES
        part = bits[start : start + CHUNK_BYTES]
        if len(part) != len(value):
            raise CorruptRecord(
                f"a bitmap of deleted rows of segment {generation} of space {space} has "
                f"{len(value)} bytes, not {len(part)}"
            )
        part[:] = np.frombuffer(value, np.uint8)
    return bits


def put_segments(
    batch: Any,
    reader: StoreReader,
    space: int,
    records: Sequence[SegmentRecord],
    deleted: Mapping[int, Bits],
) -> None:
    """Name the segments of a space; drop what is stored of those that are no longer among them.

    deleted: by generation, the bitmaps of segments that are new.
    """
    accepted = {record.generation for record in records}
    first = keys.deleted_rows_key(space, 0, 0)
    last = keys.deleted_rows_key(space, (1 << 64) - 1, (1 << 32) - 1)
    for key, _ in reader.between(first, last):
        if keys.chunk_of(key)[0] not in accepted:
            batch.delete(key)
    for generation, bits in deleted.items():
        put_deleted_rows(batch, space, generation, bits, range(-(-len(bits) // CHUNK_BYTES)))
    value = msgpack.packb([[astuple(record) for record in records]])
    batch.put(keys.segments_key(space), value)


def put_deleted_rows(
    batch: Any, space: int, generation: int, bits: Bits, chunks: Iterable[int]
) -> None:
    """Write some chunks of the bitmap of deleted rows of a segment."""
    for chunk in chunks:
        part = bits[chunk * CHUNK_BYTES : (chunk + 1) * CHUNK_BYTES]
        batch.put(keys.deleted_rows_key(space, generation, chunk), part.tobytes())
