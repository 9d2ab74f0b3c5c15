"""BulkReads: many records of one moment, read in the order of their keys where that is quicker.

Rows that lie close together are scanned; `item_values` reads the records of items.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np

from euclidesdb_server.store import keys
from euclidesdb_server.store.item_values import AT_A_TIME
from euclidesdb_server.store.reader import StoreReader, unpack_item

GAP: Final = 16
"""Labels that are farther apart are not in one scan."""
SHORT: Final = 4
"""Fewer labels are looked up."""

_ROW_KEY: Final = np.dtype([("kind", "V1"), ("space", ">u4"), ("label", ">u8")])
"""As `keys.row_key` makes it."""


class BulkRecord(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """What is stored of an item: the fields of `ItemRecord`, in its order."""

    attributes_json: str
    metadata: bytes
    labels: dict[int, int]
    payload_label: int | None
    payload_digest: bytes
    ready_made: tuple[int, ...]
    changed_label: int | None = None
    added_label: int | None = None
    failed: dict[int, int] = {}

    @property
    def current_label(self) -> int:
        """As that of `ItemRecord`."""
        if self.changed_label is not None:
            return self.changed_label
        newest = max((*self.labels.values(), *self.failed.values()), default=0)
        return newest if self.payload_label is None else max(newest, self.payload_label)


_unpacked: Final = msgspec.msgpack.Decoder(BulkRecord).decode


class BulkReads:
    """For one thread. reader: of one moment.

    Methods raise CorruptRecord, StorageError, ShuttingDown.
    """

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader

    def rows(self, kind: bytes, space: int, labels: Sequence[int | None]) -> list[bytes | None]:
        """What is stored of rows of a space; None for those that are not.

        kind: VECTOR, PREDICTIONS or FAILURE. labels: of the rows, in any order; None: no row.
        """
        all_of_them = self._consecutive_rows(kind, space, labels)
        if all_of_them is not None:
            return all_of_them
        wanted = sorted({label for label in labels if label is not None})
        found, values = list[int](), list[bytes]()
        ends = (np.flatnonzero(np.diff(wanted) > GAP) + 1).tolist()
        for start, end in pairwise((0, *ends, len(wanted))):
            if end - start < SHORT:
                for label in wanted[start:end]:
                    value = self._reader.value(keys.row_key(kind, space, label))
                    if value is not None:
                        found.append(label)
                        values.append(value)
                continue
            first, last = wanted[start], wanted[end - 1]
            range_of_keys = (keys.row_key(kind, space, label) for label in (first, last))
            for rows in self._reader.source.scan(*range_of_keys):
                row_keys, row_values = zip(*rows, strict=True)
                found += np.frombuffer(b"".join(row_keys), _ROW_KEY)["label"].tolist()
                values += row_values
        if found == labels:  # all of them, in order: as in a database that was only added to
            return [*values]
        by_label: dict[int | None, bytes] = dict(zip(found, values, strict=True))
        return [*map(by_label.get, labels)]

    def _consecutive_rows(
        self, kind: bytes, space: int, labels: Sequence[int | None]
    ) -> list[bytes | None] | None:
        """The rows, if their labels are consecutive, and of each or of none a row is stored."""
        first, count = labels[0] if labels else None, len(labels)
        if first is None or count < SHORT or labels != [*range(first, first + count)]:
            return None
        source, found = self._reader.source, list[bytes | None]()
        for start in range(first, first + count, AT_A_TIME):
            stop = min(start + AT_A_TIME, first + count)
            first_key = keys.row_key(kind, space, start)
            last_key = keys.row_key(kind, space, stop - 1)
            rows = source.neighbors(first_key, last_key, stop - start)
            if len(rows) == stop - start:
                found += [value for _, value in rows]
            elif rows or any(source.scan(first_key, last_key)):  # which reports damage
                return None
            else:
                found += [None] * (stop - start)
        return found


def unpacked_record(item_id: str, value: bytes) -> BulkRecord:
    """The record in an item's value. Raises CorruptRecord."""
    try:
        return _unpacked(value)
    except (msgspec.MsgspecError, ValueError):  # of another format, or damaged
        record = unpack_item(value, f"the record of item {item_id!r}")
    return BulkRecord(
        record.attributes_json,
        record.metadata,
        dict(record.labels),
        record.payload_label,
        record.payload_digest,
        tuple(record.ready_made),
        record.changed_label,
        record.added_label,
        dict(record.failed),
    )
