"""Tells damage in a log from a torn write: whether another write begins behind it.

If each write is synced before the next begins, a power cut can tear only the very last one. So a
write behind one that is not intact shows that the latter is damaged: it was acknowledged.

Where the next write begins is known if the header of what is not intact is genuine: it tells its
length. It is also known that a fragment begins where a block begins. Otherwise each position up to
the end of the block is tried. What is found there may lie within the torn write, for example in a
payload that holds a LevelDB log. It counts only if it continues the sequence of writes, and if it
is proved to follow directly or a chain of writes leads from it to the end of the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from euclidesdb_server.store.log_chain import Break, write_of
from euclidesdb_server.store.log_format import (
    FIRST,
    FULL,
    HEADER,
    LAST,
    MIDDLE,
    block_end,
    fragment_at,
    fragment_checksum,
    fragment_start,
    read_records,
    record_at,
)

SEQUENCE_BYTES: Final = 8


def has_later_write(data: bytes, broken: Break) -> bool:
    """Whether a write begins behind the one that is torn at a break of the chain.

    data: the log of the break.
    """
    position = broken.record.end  # of a fragment that is not intact, or of the wrong kind
    while position + HEADER.size <= len(data):
        fragment = fragment_at(data, position)
        if fragment is not None:
            if _begins_a_write(data, position, broken):
                return True
            position = fragment_start(fragment.end)
            continue
        genuine = _is_genuine(data, position, broken)
        for start in _writes_in_block(data, position, broken):
            if _ends_at(data, position, start):
                return True
            if not genuine and _leads_to_the_end(data, start, broken):
                return True
        position = fragment_start(_end_of(data, position)) if genuine else block_end(position)
    return False


def _writes_in_block(data: bytes, position: int, broken: Break) -> Iterator[int]:
    """Each later position in the block of `position` at which a write seems to begin."""
    first = position + HEADER.size
    last = min(block_end(position), len(data) - SEQUENCE_BYTES) - HEADER.size
    if last < first:
        return
    # By kind and sequence number at once: a payload may consist of bytes that look like kinds.
    kinds = np.frombuffer(data, np.uint8, last - first + 1, first + HEADER.size - 1)
    sequences = np.ndarray(kinds.shape, "<u8", data, first + HEADER.size, strides=(1,))
    possible = _sequences(broken, last)
    continues = (sequences >= possible.start) & (sequences < possible.stop)
    continues[-(HEADER.size + SEQUENCE_BYTES) :] = True  # it may go on in the next block
    for offset in np.flatnonzero(((kinds == FULL) | (kinds == FIRST)) & continues).tolist():
        if _begins_a_write(data, first + offset, broken):
            yield first + offset


def _begins_a_write(data: bytes, start: int, broken: Break) -> bool:
    """Whether the first fragment of a write is at `start`, one that may follow the break."""
    fragment = fragment_at(data, start)
    if fragment is None or fragment.kind not in (FULL, FIRST):
        return False
    content = record_at(data, start).content[:SEQUENCE_BYTES]
    if len(content) < SEQUENCE_BYTES:
        return False
    return int.from_bytes(content, "little") in _sequences(broken, start)


def _sequences(broken: Break, start: int) -> range:
    """The sequence numbers that a write at `start` may have."""
    # the writes between have at most one operation per byte
    skipped = start - broken.record.start
    return range(broken.expected.start, broken.expected.stop + skipped)


def _is_genuine(data: bytes, position: int, broken: Break) -> bool:
    """Whether the header of a fragment that is not intact is the one that LevelDB wrote there."""
    kind, end, last = data[position + HEADER.size - 1], _end_of(data, position), block_end(position)
    if kind in (MIDDLE, LAST) and position != broken.record.start:
        return end == last or (kind == LAST and end < last)
    if kind not in (FULL, FIRST) or end > last or (kind == FIRST and end < last):
        return False
    content = data[position + HEADER.size : end][:SEQUENCE_BYTES]
    if len(content) < SEQUENCE_BYTES:
        return kind == FIRST  # in the last few bytes of a block
    return int.from_bytes(content, "little") in _sequences(broken, position)


def _end_of(data: bytes, position: int) -> int:
    """Where a fragment ends according to its header."""
    _, length, _ = HEADER.unpack_from(data, position)
    return int(position + HEADER.size + length)


def _ends_at(data: bytes, position: int, end: int) -> bool:
    """Whether a fragment is intact but for its length, and ends at `end`."""
    checksum, _, _ = HEADER.unpack_from(data, position)
    return bool(checksum == fragment_checksum(data, position, end))


def _leads_to_the_end(data: bytes, start: int, broken: Break) -> bool:
    """Whether a chain of writes leads from `start` to the end of the log, or to a torn write."""
    expected, reached = _sequences(broken, start), False
    for record in read_records(data, start):
        write = write_of(record)
        if write is None or write.start not in expected:
            torn = Break(broken.log, record, expected)
            cut_short = len(data) - record.end < HEADER.size + SEQUENCE_BYTES
            return reached and write is None and (cut_short or _is_genuine(data, record.end, torn))
        expected, reached = range(write.stop, write.stop + 1), True
    return reached
