"""BulkReads: many records of one moment, read in the order of their keys where that is quicker.

LevelDB reads a record that follows the one before in about a microsecond, and one that it has to
look up in ten. So records that lie close together are scanned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from typing import Any, Final

from euclidesdb_server.store import keys
from euclidesdb_server.store.reader import ItemRecord, StoreReader, unpack_item

WASTE: Final = 2
"""A scan for ids is given up after so many records for each that is wanted."""
LOOK_UPS: Final = 16
"""After a scan that was given up, so many requests for ids are looked up."""
GAP: Final = 16
"""Labels that are farther apart are not in one scan."""
SHORT: Final = 4
"""Fewer labels are looked up."""


class BulkReads:
    """For one thread. reader: of one moment."""

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader
        self._look_ups = 0

    def items(self, ids: Sequence[str]) -> list[ItemRecord | None]:
        """The records of items. Raises CorruptRecord, StorageError, ShuttingDown."""
        wanted = [*map(keys.item_key, ids)]
        values = self._scanned_items(wanted)
        value_of = self._reader.value
        found = [values.get(key) or value_of(key) for key in wanted]
        return [
            None if value is None else unpack_item(value, f"the record of item {item_id!r}")
            for item_id, value in zip(ids, found, strict=True)
        ]

    def rows(self, kind: bytes, space: int, labels: Sequence[int]) -> dict[int, bytes]:
        """What is stored of rows of a space, by label. kind: VECTOR or PREDICTIONS.

        Raises CorruptRecord, StorageError, ShuttingDown.
        """
        found: dict[int, bytes] = {}
        for run in _runs(sorted(labels)):
            if len(run) < SHORT:
                for label in run:
                    value = self._reader.value(keys.row_key(kind, space, label))
                    if value is not None:
                        found[label] = value
                continue
            bounds = (keys.row_key(kind, space, label) for label in (run[0], run[-1]))
            found |= {keys.label_of(key): value for key, value in self._reader.between(*bounds)}
        return found

    def _scanned_items(self, wanted: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of some of the keys, by a scan; none if that does not pay."""
        if self._look_ups > 0:
            self._look_ups -= 1
            return {}
        found: dict[bytes, bytes] = {}
        limit = WASTE * len(wanted)
        scan: Any = self._reader.between(min(wanted), max(wanted))
        with closing(scan):
            for key, value in scan:
                found[key] = value
                if len(found) > limit:
                    self._look_ups = LOOK_UPS
                    break
        return found


def _runs(labels: Sequence[int]) -> Iterator[Sequence[int]]:
    """Ascending labels, in parts that lie close together."""
    start = 0
    for at, (label, following) in enumerate(pairwise(labels), 1):
        if following - label > GAP:
            yield labels[start:at]
            start = at
    if labels:
        yield labels[start:]
