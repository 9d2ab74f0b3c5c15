"""BulkReads: many records of one moment, read in the order of their keys where that is quicker.

LevelDB reads a record that follows the one before in about a microsecond, and one that it has to
look up in ten. So records that lie close together are scanned.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np

from euclidesdb_server.store import keys
from euclidesdb_server.store.reader import StoreReader, unpack_item

WASTE: Final = 2
"""A scan for ids is given up after so many records for each that is wanted."""
LOOK_UPS: Final = 16
"""After a scan that was given up, so many requests for ids are looked up."""
GAP: Final = 16
"""Labels that are farther apart are not in one scan."""
SHORT: Final = 4
"""Fewer labels are looked up."""

_ROW_KEY: Final = np.dtype([("kind", "V1"), ("space", ">u4"), ("label", ">u8")])
"""As `keys.row_key` makes it."""


class BulkRecord(msgspec.Struct, array_like=True, gc=False):
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


def current_labels(records: Sequence[BulkRecord]) -> list[int]:
    """The `current_label` of each."""
    return [
        max(record.labels.values())
        if record.changed_label is None
        and record.payload_label is None
        and record.labels
        and not record.failed
        else record.current_label
        for record in records
    ]


_unpacked: Final = msgspec.msgpack.Decoder(BulkRecord).decode


class BulkReads:
    """For one thread. reader: of one moment.

    Methods raise CorruptRecord, StorageError, ShuttingDown.
    """

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader
        self._look_ups = 0

    def items(self, ids: Sequence[str]) -> list[BulkRecord | None]:
        """The records of items; None for those that are not stored."""
        wanted = [keys.ITEM + item_id.encode() for item_id in ids]
        found = self._scanned_items(wanted)
        values = [*map(found.get, wanted)]
        if None in values:
            value_of = self._reader.value
            values = [
                value_of(key) if value is None else value
                for key, value in zip(wanted, values, strict=True)
            ]
        try:
            return [None if value is None else _unpacked(value) for value in values]
        except (msgspec.MsgspecError, ValueError):  # one is of an earlier format, or damaged
            return [
                None if value is None else _record(item_id, value)
                for item_id, value in zip(ids, values, strict=True)
            ]

    def rows(self, kind: bytes, space: int, labels: Sequence[int | None]) -> list[bytes | None]:
        """What is stored of rows of a space; None for those that are not.

        kind: VECTOR, PREDICTIONS or FAILURE. labels: of the rows, in any order; None: no row.
        """
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
            for rows in self._reader.scan(*range_of_keys):
                row_keys, row_values = zip(*rows, strict=True)
                found += np.frombuffer(b"".join(row_keys), _ROW_KEY)["label"].tolist()
                values += row_values
        if found == labels:  # all of them, in order: as in a database that was only added to
            return [*values]
        by_label: dict[int | None, bytes] = dict(zip(found, values, strict=True))
        return [*map(by_label.get, labels)]

    def _scanned_items(self, wanted: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of some of the keys, by a scan; none if that does not pay."""
        if self._look_ups > 0 or not wanted:
            self._look_ups -= 1
            return {}
        found: dict[bytes, bytes] = {}
        limit = WASTE * len(wanted)
        scan: Any = self._reader.scan(min(wanted), max(wanted))
        with closing(scan):
            for rows in scan:
                found.update(rows)
                if len(found) > limit:
                    self._look_ups = LOOK_UPS
                    break
        return found


def _record(item_id: str, value: bytes) -> BulkRecord:
    try:
        return _unpacked(value)
    except (msgspec.MsgspecError, ValueError):  # of an earlier format, or damaged
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
