"""The keys of the store: a kind byte, then big-endian numbers or an id.

Big-endian, because LevelDB orders keys by their bytes: so the rows of a space are contiguous, in
the order of their labels. Kind bytes may never change; FORMAT.md lists them with their values.
"""

from __future__ import annotations

import struct
from typing import Final

DATABASE: Final = b"\x01"
LABELS_RESERVED: Final = b"\x02"
SPACE: Final = b"\x03"
ITEM: Final = b"\x04"
LABEL: Final = b"\x05"
VECTOR: Final = b"\x06"
PREDICTIONS: Final = b"\x07"
TOMBSTONE: Final = b"\x08"
PAYLOAD: Final = b"\x09"
SEGMENTS: Final = b"\x0a"
DELETED_ROWS: Final = b"\x0b"
DROPPED_SPACE: Final = b"\x0c"
COLUMNS: Final = b"\x0d"
FAILURE: Final = b"\x0e"
REQUESTS: Final = b"\x0f"
JOB: Final = b"\x10"

KINDS_OF_ROWS: Final = (VECTOR, PREDICTIONS, TOMBSTONE, SEGMENTS, DELETED_ROWS, FAILURE)
"""The kinds whose keys begin with the number of a space: all that is deleted with the space."""

EUCLIDESDB_METADATA: Final = b"__euclidesdb_metadata"
"""The key of the metadata record in a database written by EuclidesDB (C++)."""

MAX_KEY_BYTES: Final = 1024
"""Longer than any key."""

MAX_LABEL: Final = (1 << 63) - 1

_SPACE = struct.Struct(">I")
_LABEL = struct.Struct(">Q")
_SPACE_AND_LABEL = struct.Struct(">IQ")
_SPACE_AND_CHUNK = struct.Struct(">IQI")


def space_key(space: int) -> bytes:
    """The key of the record of a space."""
    return SPACE + _SPACE.pack(space)


def dropped_space_key(space: int) -> bytes:
    """The key of the record that a space has been dropped."""
    return DROPPED_SPACE + _SPACE.pack(space)


def space_of(key: bytes) -> int:
    """The space of a key made by `space_key` or `dropped_space_key`."""
    return int(_SPACE.unpack(key[1:])[0])


def item_key(item_id: str) -> bytes:
    """The key of the record of an item."""
    return ITEM + item_id.encode()


def label_key(label: int) -> bytes:
    """The key of the id of the item that a label was given to."""
    return LABEL + _LABEL.pack(label)


def payload_key(label: int) -> bytes:
    """The key of the payload that was stored with the write of a label."""
    return PAYLOAD + _LABEL.pack(label)


def row_key(kind: bytes, space: int, label: int) -> bytes:
    """The key of a row of a space. kind: VECTOR, PREDICTIONS, TOMBSTONE or FAILURE."""
    return kind + _SPACE_AND_LABEL.pack(space, label)


def segments_key(space: int) -> bytes:
    """The key of the list of the segments that a space consists of."""
    return SEGMENTS + _SPACE.pack(space)


def deleted_rows_key(space: int, generation: int, chunk: int) -> bytes:
    """The key of one chunk of the bitmap of deleted rows of a segment."""
    return DELETED_ROWS + _SPACE_AND_CHUNK.pack(space, generation, chunk)


def chunk_of(key: bytes) -> tuple[int, int]:
    """The generation and the chunk of a key made by `deleted_rows_key`."""
    _, generation, chunk = _SPACE_AND_CHUNK.unpack(key[1:])
    return generation, chunk


def job_key(number: int) -> bytes:
    """The key of the record of an embedding job."""
    return JOB + _LABEL.pack(number)


def space_prefix(kind: bytes, space: int) -> bytes:
    """What all keys of a space begin with. kind: one of KINDS_OF_ROWS."""
    return kind + _SPACE.pack(space)


def label_of(key: bytes) -> int:
    """The label of a key made by `row_key`."""
    return int(_LABEL.unpack(key[5:])[0])


def requests_key(number: int) -> bytes:
    """The key of a record of recent requests."""
    return REQUESTS + _LABEL.pack(number)


def pack_label(label: int) -> bytes:
    """A label as a value."""
    return _LABEL.pack(label)


def unpack_label(value: bytes) -> int:
    """The label in a value made by `pack_label`. Raises struct.error."""
    return int(_LABEL.unpack(value)[0])
