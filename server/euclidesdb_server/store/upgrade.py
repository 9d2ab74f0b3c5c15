"""What a store of format 1 lacks.

Format 2 gives each item a current label: the greatest that its record names, which is that of the
last write that changed the record. In format 1, an item could be without any label: one whose
only versions had been dropped, or one of EuclidesDB (C++) without a usable vector.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from euclidesdb_server.errors import CorruptRecord, DataFolderError, StorageError
from euclidesdb_server.store import keys
from euclidesdb_server.store.format_version import FORMAT_VERSION
from euclidesdb_server.store.item_writes import ItemWrite, put_item
from euclidesdb_server.store.labels import LabelSequence
from euclidesdb_server.store.leveldb import LevelDB
from euclidesdb_server.store.reader import ITEM_FIELDS, ItemRecord, unpack, unpack_item

log = logging.getLogger(__name__)


def upgrade(
    folder: Path,
    version: int,
    leveldb: LevelDB,
    labels: LabelSequence,
    note: Callable[[], None],
) -> None:
    """Bring a store of an earlier format up to date; it is then noted that it is.

    Raises DataFolderError, CorruptRecord.
    """
    log.info("upgrading %s from format %d to format %d", folder, version, FORMAT_VERSION)
    try:
        count = name_current_labels(leveldb, labels)
        note()
    except CorruptRecord:
        raise
    except StorageError as error:
        raise DataFolderError(
            f"{folder} cannot be upgraded to format {FORMAT_VERSION}: {error}"
        ) from error
    log.info("upgraded %s: %d items had no label", folder, count)


def name_current_labels(leveldb: LevelDB, labels: LabelSequence) -> int:
    """Give a label to each item whose record names none; returns how many there were.

    May be interrupted, and called again. A record that cannot be read is left as it is: an error
    of its item alone, as before. Raises StorageError.
    """
    count = 0
    for found in leveldb.scan(keys.ITEM, keys.ITEM + b"\xff" * keys.MAX_KEY_BYTES):
        lacking = [record for key, value in found if (record := _without_label(key, value))]
        if not lacking:
            continue
        count += len(lacking)
        batch = leveldb.batch()
        with labels.allocate(len(lacking)) as given:
            for (item_id, before), label in zip(lacking, given, strict=True):
                after = before.with_labels(current=label, first=label)
                put_item(batch, ItemWrite(item_id, label, before, after))
            leveldb.write(batch, "upgrading items")
    return count


def _without_label(key: bytes, value: bytes) -> tuple[str, ItemRecord] | None:
    """An item and its record, if that names no label."""
    what = f"the record of item {key[1:]!r}"
    try:
        _, _, vectors, payload_label, *_ = unpack(value, what, *ITEM_FIELDS)
        if vectors or payload_label is not None:
            return None
        record = unpack_item(value, what)
        return None if record.all_labels() else (key[1:].decode(), record)
    except (CorruptRecord, UnicodeDecodeError) as error:
        log.error("%s cannot be read: %s", what, error)
        return None
