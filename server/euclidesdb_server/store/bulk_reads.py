"""BulkReads: many records of one moment, read in the order of their keys where that is quicker.

LevelDB reads a record that follows the one before in half a microsecond, one that it has to search
in two if that is near the one before, and in twelve if it is anywhere. So records are read in the
order of their keys, and those that are neighbors are scanned.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np

from euclidesdb_server.store import keys
from euclidesdb_server.store.reader import StoreReader, unpack_item

GAP: Final = 16
"""Labels that are farther apart are not in one scan."""
PROBE: Final = 32
"""Before many records are read as neighbors, so many are, to see whether they are."""
AT_A_TIME: Final = 1024
"""Rows that are read at a time: while they are, LevelDB cannot be opened again."""
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


_unpacked: Final = msgspec.msgpack.Decoder(BulkRecord).decode


class BulkReads:
    """For one thread. reader: of one moment.

    Methods raise CorruptRecord, StorageError, ShuttingDown.
    """

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader

    def values(self, ids: Sequence[str]) -> list[bytes | None]:
        """The values of items' keys; None for those that are not stored."""
        return self.values_within(sys.maxsize, ids) or []

    def values_within(self, max_bytes: int, ids: Sequence[str]) -> list[bytes | None] | None:
        """As `values`; None if they are more bytes, as soon as that is known."""
        wanted = [*map(keys.ITEM.__add__, map(str.encode, ids))]
        in_order = sorted(wanted)
        found, size = dict[bytes, bytes](), 0
        for start in range(0, len(in_order), AT_A_TIME):
            for rows in self._items(in_order[start : start + AT_A_TIME]):
                found.update(rows)
                size += sum([len(value) for _, value in rows])
                if size > max_bytes:
                    return None
        return [*map(found.get, wanted)]

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

    def _items(self, wanted: Sequence[bytes]) -> Iterator[list[tuple[bytes, bytes]]]:
        """The rows of some items, whose keys are ascending, and perhaps of some between them."""
        if len(wanted) > PROBE and self._neighbors(wanted[:PROBE]) is not None:
            rows = self._neighbors(wanted)
            if rows is not None and dict(rows).keys() >= {*wanted}:
                yield rows
                return
        scan: Any = self._reader.source.scan_keys(wanted)
        with closing(scan):
            yield from scan

    def _neighbors(self, wanted: Sequence[bytes]) -> list[tuple[bytes, bytes]] | None:
        """The rows from the first key to the last; None if most are not wanted."""
        limit = len(wanted) + len(wanted) // 2
        rows = self._reader.source.neighbors(wanted[0], wanted[-1], limit)
        return rows if len(rows) < limit else None

    def _consecutive_rows(
        self, kind: bytes, space: int, labels: Sequence[int | None]
    ) -> list[bytes | None] | None:
        """The rows, if their labels are consecutive, and a row is stored of each."""
        first, count = labels[0] if labels else None, len(labels)
        if first is None or count < SHORT or labels != [*range(first, first + count)]:
            return None
        found = list[bytes | None]()
        for start in range(first, first + count, AT_A_TIME):
            stop = min(start + AT_A_TIME, first + count)
            first_key = keys.row_key(kind, space, start)
            last_key = keys.row_key(kind, space, stop - 1)
            rows = self._reader.source.neighbors(first_key, last_key, stop - start)
            if len(rows) < stop - start:
                return None
            found += [value for _, value in rows]
        return found


def unpacked_record(item_id: str, value: bytes) -> BulkRecord:
    """The record in an item's value. Raises CorruptRecord."""
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
