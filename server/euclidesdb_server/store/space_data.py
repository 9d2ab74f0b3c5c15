"""SpaceData: what is stored of a space as a whole: its size, its rows, and how they are deleted.

A dropped space is deleted a batch at a time, so that it takes little memory and other writes go on.
Each batch is atomic: an item's record names a row exactly as long as the row is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from itertools import pairwise
from typing import Any, Final

import msgspec

from euclidesdb_server.store import keys
from euclidesdb_server.store.leveldb import LevelDB
from euclidesdb_server.store.reader import ItemRecord

PIECES: Final = 64
MIN_PIECE: Final = 1 << 16
"""A space is compacted in at most PIECES pieces of at least MIN_PIECE labels each: LevelDB cannot
be reopened or closed during a piece."""


class SpaceData:
    """Thread-safe. Methods raise StorageError (CorruptRecord if they read) and ShuttingDown."""

    def __init__(self, leveldb: LevelDB) -> None:
        self._leveldb = leveldb

    def size_in_bytes(self, space: int) -> int:
        """About how many bytes the space takes in LevelDB's tables; its latest writes are not in
        them yet.
        """
        return sum(self._leveldb.size_in_bytes(*_range(kind, space)) for kind in keys.KINDS_OF_ROWS)

    def count_rows_ever(self, space: int, check: Callable[[], None]) -> int:
        """The rows of a space and its tombstones at one moment: rows that are there or were.

        While no row is added and no tombstone dropped, this number stays as it is. Reads all of
        the rows. check: called from time to time; may raise to give up.
        """
        snapshot = self._leveldb.snapshot()
        try:
            count = 0
            for kind in (keys.VECTOR, keys.TOMBSTONE):
                for found in snapshot.scan(*_range(kind, space)):
                    count += len(found)
                    check()
            return count
        finally:
            snapshot.close()

    def labels_after(
        self, space: int, label: int, kind: bytes = keys.VECTOR
    ) -> dict[int, str | None]:
        """The next labels of the rows of a space, with the ids of their items; empty: the end.

        kind: VECTOR or FAILURE.

        As many as a scan reads at a time. To begin at the first row again and again would step over
        all that has been deleted since.
        """
        first = keys.row_key(kind, space, label + 1)
        scan: Any = self._leveldb.scan(first, keys.row_key(kind, space, keys.MAX_LABEL))
        with closing(scan):
            labels = [keys.label_of(key) for key, _ in next(scan, [])]
        ids = self._leveldb.get_many([keys.label_key(label) for label in labels])
        return {
            label: None if item_id is None else item_id.decode(errors="replace")
            for label, item_id in zip(labels, ids, strict=True)
        }

    def delete_rows(
        self, space: int, rows: Mapping[int, str | None], items: Mapping[str, ItemRecord]
    ) -> None:
        """Delete rows of a dropped space, and what the records of their items know of them.

        rows: the item of each label (`labels_after`). items: their records; the caller holds the
        locks of the items. An item stays, even if it has no vector left: its attributes, its
        metadata and its payload belong to no version. It keeps its current and its first label.
        """
        batch = self._leveldb.batch()
        for label, item_id in rows.items():
            for kind in (keys.VECTOR, keys.PREDICTIONS, keys.FAILURE):
                batch.delete(keys.row_key(kind, space, label))
            record = None if item_id is None else items.get(item_id)
            if item_id is None or record is None:
                continue
            if label in (record.labels.get(space), record.failed.get(space)):
                record = _without(record, space)
                batch.put(keys.item_key(item_id), record.packed())
            if label not in record.all_labels():
                batch.delete(keys.label_key(label))
        self._leveldb.write(batch, f"deleting rows of space {space}")

    def delete_rest(self, space: int, check: Callable[[], None]) -> None:
        """Delete whatever else begins with the number of a dropped space.

        check: called before each batch; may raise.
        """
        for kind in keys.KINDS_OF_ROWS:
            for found in self._leveldb.scan(*_range(kind, space)):
                check()
                batch = self._leveldb.batch()
                for key, _ in found:
                    batch.delete(key)
                self._leveldb.write(batch, f"deleting records of space {space}")

    def compact(self, space: int, last_label: int, check: Callable[[], None]) -> None:
        """Have LevelDB give the disk space of deleted rows back.

        last_label: about the greatest one in use. check: called before each piece; may raise.
        """
        step = max(MIN_PIECE, -(-last_label // PIECES))
        for kind in keys.KINDS_OF_ROWS:
            first, last = _range(kind, space)
            bounds = [keys.row_key(kind, space, label) for label in range(step, last_label, step)]
            for start, stop in pairwise([first, *bounds, last]):
                check()
                self._leveldb.compact(start, stop)


def _without(record: ItemRecord, space: int) -> ItemRecord:
    labels = {number: label for number, label in record.labels.items() if number != space}
    failed = {number: label for number, label in record.failed.items() if number != space}
    without = msgspec.structs.replace(
        record, labels=labels, ready_made=record.ready_made - {space}, failed=failed
    )
    return without.with_labels(current=record.current_label, first=record.first_label)


def _range(kind: bytes, space: int) -> tuple[bytes, bytes]:
    prefix = keys.space_prefix(kind, space)
    return prefix, prefix + b"\xff" * keys.MAX_KEY_BYTES
