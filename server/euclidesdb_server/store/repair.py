"""The repair of a store: which records are left out, changed or added, and applying that.

A repair reads the damaged store once more, record by record, and writes what remains elsewhere:
no more than one record is in memory at a time. Knows the form of records, not why they change.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Self, TextIO

import msgspec

from euclidesdb_server.errors import StorageError
from euclidesdb_server.store import keys
from euclidesdb_server.store.reader import ItemRecord, unpack_item

HEX_BYTES: Final = 1 << 20
"""Bytes of a discarded record that are written at a time."""


@dataclass(frozen=True, slots=True)
class ItemChange:
    """What a repair changes in the record of an item: what it refers to."""

    labels: Mapping[int, int]
    payload_label: int | None
    ready_made: frozenset[int]
    changed_label: int | None
    added_label: int | None
    failed: Mapping[int, int]

    @classmethod
    def of(cls, record: ItemRecord) -> Self:
        """What a record refers to now."""
        return cls(
            record.labels,
            record.payload_label,
            record.ready_made,
            record.changed_label,
            record.added_label,
            record.failed,
        )


@dataclass(slots=True)
class Repair:
    """What makes a sound store of a damaged one.

    discarded: the keys of records to leave out. replaced: the new value by key, also of records
    that are missing. changed: by key, records of items that refer to something else than before.
    checksum: of all records, as `checksum_of` makes it.
    """

    discarded: set[bytes] = field(default_factory=set)
    replaced: dict[bytes, bytes] = field(default_factory=dict)
    changed: dict[bytes, ItemChange] = field(default_factory=dict)
    checksum: int = 0

    def applied_to(
        self, records: Iterable[tuple[bytes, bytes]], discard: Callable[[bytes, bytes], None]
    ) -> Iterator[tuple[bytes, bytes]]:
        """The records of the repaired store, in no particular order.

        records: those that were checked, read again. discard: receives each record that is left
        out, and the original of each that is changed.

        Raises StorageError at the end if the records are not the same as when they were checked.
        """
        checksum = 0
        for key, value in records:
            checksum = checksum_of(key, value, checksum)
            if key in self.discarded or key in self.replaced:
                discard(key, value)
            elif (change := self.changed.get(key)) is not None:
                discard(key, value)
                record = unpack_item(value, f"the record of item {key[1:]!r}")
                changed = msgspec.structs.replace(
                    record,
                    labels=change.labels,
                    payload_label=change.payload_label,
                    ready_made=change.ready_made,
                    changed_label=change.changed_label,
                    added_label=change.added_label,
                    failed=change.failed,
                )
                yield key, changed.packed()
            elif key != keys.COLUMNS:  # which are of the store as it was, and are made again
                yield key, value
        yield from self.replaced.items()
        if checksum != self.checksum:
            raise StorageError(
                "the store had other content when it was read again, so the disk may be failing; "
                "nothing was changed"
            )


def checksum_of(key: bytes, value: bytes, before: int) -> int:
    """A checksum of the records up to this one. before: that of those up to the last one."""
    return zlib.crc32(value, zlib.crc32(key, before))


def write_discarded(stream: TextIO, key: bytes, value: bytes) -> None:
    """Write a record as a line of JSON, with its bytes in hexadecimal."""
    stream.write(f'{{"key": "{key.hex()}", "value": "')
    for start in range(0, len(value), HEX_BYTES):
        stream.write(value[start : start + HEX_BYTES].hex())
    stream.write('"}\n')
