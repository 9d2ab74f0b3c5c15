"""BulkReads: many records of one moment, read in the order of their keys where that is quicker.

LevelDB reads a record that follows the one before in about a microsecond, and one that it has to
look up in ten. So records that lie close together are scanned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np

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

_ROW_KEY: Final = np.dtype([("kind", "V1"), ("space", ">u4"), ("label", ">u8")])
"""As `keys.row_key` makes it."""


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
            None if value is None else _record(item_id, value)
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
            for rows in self._reader.scan(*bounds):
                row_keys = np.frombuffer(b"".join([key for key, _ in rows]), _ROW_KEY)
                found.update(
                    zip(row_keys["label"].tolist(), [value for _, value in rows], strict=True)
                )
        return found

    def _scanned_items(self, wanted: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of some of the keys, by a scan; none if that does not pay."""
        if self._look_ups > 0:
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


class _Packed(msgspec.Struct, array_like=True, gc=False):
    """A record as `ItemRecord.packed` writes it."""

    attributes_json: str
    metadata: bytes
    labels: dict[int, int]
    payload_label: int | None
    payload_digest: bytes
    ready_made: tuple[int, ...]
    changed_label: int | None = None
    added_label: int | None = None


_unpacked: Final = msgspec.msgpack.Decoder(_Packed).decode


def _record(item_id: str, value: bytes) -> ItemRecord:
    """As `unpack_item`, in a fraction of the time."""
    try:
        found = _unpacked(value)
    except (msgspec.MsgspecError, ValueError):  # of an earlier format, or damaged
        return unpack_item(value, f"the record of item {item_id!r}")
    return ItemRecord(
        found.attributes_json,
        found.metadata,
        found.labels,
        found.payload_label,
        found.payload_digest,
        frozenset(found.ready_made),
        found.changed_label,
        found.added_label,
    )


def _runs(labels: Sequence[int]) -> Iterator[Sequence[int]]:
    """Ascending labels, in parts that lie close together."""
    start = 0
    for at, (label, following) in enumerate(pairwise(labels), 1):
        if following - label > GAP:
            yield labels[start:at]
            start = at
    if labels:
        yield labels[start:]
