"""The chain of writes in LevelDB's logs: each begins where the one before ended.

A record of a log is a write batch. It begins with its sequence number (u64) and the number of its
operations (u32), little-endian; the sequence number of the next batch is their sum, from record to
record and from one log to the next. `find_break` finds where this ends before the logs do.

A power cut can break the chain in two ways. The last write in a log may be torn. And if writes are
not synced, the end of a log may be missing although the next log is there: LevelDB syncs only the
log that it writes to, and only if it is asked to.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from euclidesdb_server.store.log_format import Record, read_records

BATCH: Final = struct.Struct("<QI")
"""How a write batch begins: the sequence number of its first operation, and their number."""


@dataclass(frozen=True, slots=True)
class Break:
    """Where the chain of writes breaks: at the first that is torn, or that does not continue it.

    log: the position of the log among those given. record: the write, or what is left of it.
    expected: the sequence numbers that would continue the chain.
    """

    log: int
    record: Record
    expected: range

    @property
    def torn(self) -> bool:
        """Whether the write is torn; otherwise those between it and the chain are missing."""
        return write_of(self.record) is None


def find_break(logs: Sequence[bytes], logged_sequence: int, *, synced: bool) -> Break | None:
    """Where the chain of writes in `logs`, given in order, breaks; None if it does not.

    logged_sequence: the first log begins with the write that follows that one, or an earlier one.
    synced: each write was synced before the next began.
    """
    expected = range(1, logged_sequence + 2)
    for number, data in enumerate(logs):
        is_empty = True
        for record in read_records(data):
            write = write_of(record)
            if write is None or write.start not in expected:
                return Break(number, record, expected)
            expected = range(write.stop, write.stop + 1)
            is_empty = False
        if number == 0 and is_empty and not synced:
            # LevelDB begins a new log when there is no more room in memory for the writes of the
            # old one. So if there are writes in a later log, those of this one are missing, even
            # if none of them came after `logged_sequence`.
            expected = range(0)
    return None


def write_of(record: Record) -> range | None:
    """The sequence numbers that a write takes; None if its record is not whole."""
    if not record.whole or len(record.content) < BATCH.size:
        return None
    sequence, count = BATCH.unpack_from(record.content)
    return range(sequence, sequence + count)
