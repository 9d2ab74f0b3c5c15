"""What a start reads: the files of columns that the store accepts, and what they lack."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from euclidesdb_server.columns.block import Block
from euclidesdb_server.columns.block_files import BlockFiles
from euclidesdb_server.columns.live_blocks import LiveBlock, newest
from euclidesdb_server.columns.merging import merged
from euclidesdb_server.columns.pending_rows import PendingRows, stored_rows
from euclidesdb_server.errors import CorruptRecord, ShuttingDown, StorageError
from euclidesdb_server.store import (
    ColumnsFile,
    ColumnsRecord,
    FeatureStore,
    ItemRecord,
    labeled_items,
    labels_up_to,
)

log = logging.getLogger(__name__)

READ_ROWS: Final = 1 << 12
READ_BYTES: Final = 16 << 20
"""What is read from the store at a time."""
PREDICTIONS_AT_A_TIME: Final = 256
FILE_ROWS: Final = 1 << 17
FILE_BYTES: Final = 64 << 20
"""What was read from the store and is written to a file, so that it need not be in memory."""


def loaded_blocks(
    store: FeatureStore, files: BlockFiles, stored: int, stop: threading.Event
) -> list[LiveBlock]:
    """The blocks of all items whose last write has a label up to `stored`.

    Items that are written or removed meanwhile may be there as they were, or not; the writer
    deletes these rows.

    Raises StorageError, ShuttingDown.
    """
    accepted = _accepted(store)
    record = accepted or ColumnsRecord()
    found: list[tuple[Block, ColumnsFile | None]] = []
    for file in record.files:
        block = files.open(file, stop)
        if block is None:  # its rows are nowhere else
            found, record = [], ColumnsRecord()
            break
        found.append((block, file))
    files.delete_others([file.generation for file in record.files])
    from_files = len(found)
    generation = max((file.generation for file in record.files), default=0)
    for block in _read(store, record.up_to_label, stored, stop):
        written: ColumnsFile | None = None
        kept = block
        if _is_large(len(block), block.batch.nbytes):
            generation += 1
            written = _written(block, files, generation)
            kept = block if written is None else files.mapped(generation)
        found.append((kept, written))
    if not _accept(store, accepted, found, stored):
        old = {file.generation for file in record.files}
        found = [
            (block, file if file is not None and file.generation in old else None)
            for block, file in found
        ]
    # In this order: an item may have been written again meanwhile, so that the store no longer
    # names the label of its newest row; its older rows do not count then, either.
    masks = newest([(block.labels, block.added) for block, _ in found])
    named = labels_up_to(store, record.up_to_label)
    return [
        LiveBlock(block, mask & np.isin(block.labels, named) if number < from_files else mask, file)
        for number, ((block, file), mask) in enumerate(zip(found, masks, strict=True))
    ]


def _accepted(store: FeatureStore) -> ColumnsRecord | None:
    """The files that the store accepts; None if that cannot be read: it is derived, too."""
    try:
        return store.columns()
    except CorruptRecord as error:
        log.error("the columns of items are made again: %s", error)
        return None


def _is_large(rows: int, size: int) -> bool:
    return rows >= FILE_ROWS or size >= FILE_BYTES


def _written(block: Block, files: BlockFiles, generation: int) -> ColumnsFile | None:
    """The file of a block; None if it cannot be written, on a full disk: it stays in memory."""
    try:
        return files.write(block, generation)
    except StorageError as error:
        log.error("columns of items stay in memory for now: %s", error)
        return None


def _accept(
    store: FeatureStore,
    before: ColumnsRecord | None,
    found: Sequence[tuple[Block, ColumnsFile | None]],
    stored: int,
) -> bool:
    """Name the files in the store; False if that cannot be done now."""
    accepted = [file for _, file in found if file is not None]
    if before is not None and accepted == [*before.files]:
        return True
    # every row that no file has comes after those that the files have
    first = min((int(block.labels[0]) for block, file in found if file is None), default=stored + 1)
    try:
        store.accept_columns(ColumnsRecord(accepted, first - 1))
    except StorageError as error:
        log.error("columns of items stay in memory for now: %s", error)
        return False
    return True


def _read(store: FeatureStore, after: int, up_to: int, stop: threading.Event) -> Iterator[Block]:
    """Blocks of the items with labels in (after, up_to], as the store has them."""
    blocks: list[Block] = []
    waiting: dict[str, int] = {}
    for named in labeled_items(store, after=after, up_to=up_to):
        if stop.is_set():
            raise ShuttingDown("the server is stopping")
        waiting |= {item_id: label for label, item_id in named}
        if len(waiting) < READ_ROWS:
            continue
        blocks += _read_items(store, waiting)
        waiting = {}
        if _is_large(sum(map(len, blocks)), sum(block.batch.nbytes for block in blocks)):
            yield from _whole(blocks)
            blocks = []
    blocks += _read_items(store, waiting)
    yield from _whole(blocks)


def _read_items(store: FeatureStore, labels: Mapping[str, int]) -> Iterator[Block]:
    """Blocks of some items. labels: by id, the label that the row stands for."""
    pending, found = PendingRows(), list[tuple[int, str, ItemRecord]]()
    with store.snapshot() as reader:
        for item_id, label in labels.items():
            try:
                record = reader.item(item_id)
                # else it has been written again, or removed: then it is published
                if record is not None and record.current_label == label:
                    found.append((label, item_id, record))
            except CorruptRecord as error:
                log.error("an item is left out of lists and filters: %s", error)
        for start in range(0, len(found), PREDICTIONS_AT_A_TIME):
            for row in stored_rows(found[start : start + PREDICTIONS_AT_A_TIME], reader):
                pending.put(row)
            if pending.bytes >= READ_BYTES:
                yield pending.block()
                pending = PendingRows()
    if len(pending):
        yield pending.block()


def _whole(blocks: list[Block]) -> Iterator[Block]:
    yield from merged([(block, np.ones(len(block), np.bool_)) for block in blocks])
