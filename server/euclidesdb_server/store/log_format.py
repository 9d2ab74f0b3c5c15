"""LevelDB's log format (its doc/log_format.md): in it are its logs and its MANIFEST.

A log is a sequence of blocks of 32 KiB. A record is one fragment or, where a block ends, several;
each fragment has a header with a checksum, and no fragment crosses the end of a block.

Only reads. Knows nothing of what records contain.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

import google_crc32c

BLOCK_SIZE: Final = 32768
HEADER: Final = struct.Struct("<IHB")
"""Of a fragment: the masked CRC-32C of kind and content, the length of the content, the kind."""
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
"""Kinds of fragment: a whole record, or its first fragment, one in the middle, its last one."""


class Fragment(NamedTuple):
    """An intact fragment. end: of its content."""

    kind: int
    content: bytes
    end: int


class Record(NamedTuple):
    """A record, or what is left of one.

    start: of its first fragment. whole: all its fragments are intact. content: of its intact
    fragments. end: of the last one; if the record is not whole, where the next one should begin.
    """

    start: int
    end: int
    content: bytes
    whole: bool


def read_records(data: bytes, position: int = 0) -> Iterator[Record]:
    """The records of a log from a position on, up to the first that is not whole, which is last."""
    while (start := fragment_start(position)) < len(data):
        record = record_at(data, start)
        yield record
        if not record.whole:
            return
        position = record.end


def record_at(data: bytes, start: int) -> Record:
    """The record whose first fragment begins at `start`."""
    fragment = fragment_at(data, start)
    if fragment is not None and fragment.kind == FULL:
        return Record(start, fragment.end, fragment.content, True)
    pieces: list[bytes] = []
    position = start
    while fragment is not None and fragment.kind in ((MIDDLE, LAST) if pieces else (FIRST,)):
        pieces.append(fragment.content)
        if fragment.kind == LAST:
            return Record(start, fragment.end, b"".join(pieces), True)
        position = fragment_start(fragment.end)
        fragment = fragment_at(data, position)
    return Record(start, position, b"".join(pieces), False)


def fragment_start(position: int) -> int:
    """Where the next fragment begins: the end of a block is unused if too short for a header."""
    left = BLOCK_SIZE - position % BLOCK_SIZE
    return position + left if left < HEADER.size else position


def block_end(position: int) -> int:
    """The end of the block that `position` lies in."""
    return position - position % BLOCK_SIZE + BLOCK_SIZE


def fragment_at(data: bytes, start: int) -> Fragment | None:
    """The intact fragment whose header is at `start`; None if there is not one."""
    content_start = start + HEADER.size
    if content_start > len(data):
        return None
    checksum, length, kind = HEADER.unpack_from(data, start)
    end = content_start + length
    if not FULL <= kind <= LAST or end > block_end(start) or end > len(data):
        return None
    if checksum != fragment_checksum(data, start, end):
        return None
    return Fragment(kind, data[content_start:end], end)


def fragment_checksum(data: bytes, start: int, end: int) -> int:
    """The checksum that a fragment has whose header is at `start` and whose content ends at `end`.

    It is masked as LevelDB masks it (its util/crc32c.h).
    """
    crc: int = google_crc32c.value(data[start + HEADER.size - 1 : end])
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
