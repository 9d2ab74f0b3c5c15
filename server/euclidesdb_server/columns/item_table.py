"""ItemTable: the fields of all items, as columns, up to date with every write.

What is written is noted, and becomes a block of columns when somebody looks (`view`), or when
enough has come together. It is derived from the store and never more than that: files of columns
are accepted by the store, and whatever they lack after a crash is read from the store again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from euclidesdb_server.columns.block_files import BlockFiles
from euclidesdb_server.columns.block_writer import BlockWriter, are_mergeable
from euclidesdb_server.columns.live_blocks import LiveBlock, LiveBlocks
from euclidesdb_server.columns.loading import loaded_blocks
from euclidesdb_server.columns.merging import merged
from euclidesdb_server.columns.pending_rows import PendingRow, PendingRows, written_rows
from euclidesdb_server.columns.table_view import TableView
from euclidesdb_server.errors import ShuttingDown, StorageError
from euclidesdb_server.store import ColumnsWrite, FeatureStore, ItemRecord, ItemWrite
from euclidesdb_server.values.stop import CheckStop

log = logging.getLogger(__name__)

T = TypeVar("T")

PENDING_ROWS: Final = 4096
PENDING_BYTES: Final = 16 << 20
"""So much becomes a block in the background, so that the next view does not have to wait."""
MAX_PENDING: Final = 4
"""With so many times as much, the writer makes the block itself."""
FLUSH_BYTES: Final = 64 << 20
"""So much in memory is written to a file, however few the rows."""
MEMORY_BLOCKS: Final = 8
LARGE_ROWS: Final = 1024
"""Blocks in memory are merged if they are smaller, or more than MEMORY_BLOCKS."""
ATTEMPTS: Final = 3
RETRY: Final = 10.0
"""Seconds to wait after a failure before the files are written or read again."""
CLOSE_TIMEOUT: Final = 5.0


class ItemTable:
    """The columns of all items. Thread-safe; close it before the store.

    publishing: to be held while writes are published in spaces and here, so that views of both that
    `view_with` takes are of the same moment.
    """

    def __init__(self, store: FeatureStore, folder: Path, *, flush_rows: int = 10_000) -> None:
        """Begin to read what is stored, in the background.

        folder: of the files. flush_rows: so many in memory are written to a file. Nothing may be
        written yet.
        """
        self.publishing = threading.Lock()
        self._store = store
        self._files = BlockFiles(folder)
        self._flush_rows = flush_rows
        self._pending_rows = min(PENDING_ROWS, flush_rows)
        self._live = LiveBlocks()
        self._writer = BlockWriter(store, self._files, self._live, flush_rows)
        self._stored = store.labels.low_watermark()
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._pending = PendingRows()
        self._gone: set[int] = set()
        self._touched: set[int] = set()
        self._loaded = threading.Event()
        self._stop = threading.Event()
        self._wake = threading.Event()
        # a daemon thread: it must not keep the process from exiting
        self._thread = threading.Thread(target=self._run, name="columns", daemon=True)
        self._thread.start()

    def prepare(self, writes: Sequence[ItemWrite]) -> list[PendingRow]:
        """What `publish` takes. It may read from the store, so it is called without `publishing`,
        and before the items can be written again.
        """
        return written_rows(writes, self._store)

    def publish(self, rows: Sequence[PendingRow], added: ColumnsWrite | None = None) -> None:
        """Items have been written; they are in the next view. They are not written again yet.

        What they were stays until they are in a block, so no view is without them.
        """
        with self._lock:
            for row in rows:
                self._pending.put(row)
                self._note_touched(row.added)
            if added is not None:
                self._pending.put_columns(added)
        if self._much_is_pending():
            self._wake.set()

    def relieve(self) -> None:
        """To be called after `publish`, without a lock: help if the background is too slow."""
        if self._loaded.is_set() and self._too_much_is_pending():
            try:
                self._make_block()
            except Exception:  # the writes have been published all the same
                log.exception("the columns of items are behind")

    def delete(self, removed: Iterable[ItemRecord]) -> None:
        """Items have been removed, which had these records."""
        with self._lock:
            for record in removed:
                self._note_touched(record.first_label)
                if not self._live.delete(record.current_label):
                    self._gone.add(record.current_label)  # it is pending

    def view(self, check: CheckStop) -> TableView:
        """All items as of now: with every write that was acknowledged before.

        check: raises to end the wait until what is stored has been read, after a start.
        Raises StorageError, ShuttingDown.
        """
        self._wait_until_loaded(check)
        self._make_block()
        return TableView(self._live.view())

    def view_with(self, check: CheckStop, take: Callable[[], T]) -> tuple[TableView, T]:
        """As `view`; and what `take` returns of the same moment: nothing is published meanwhile."""
        self._wait_until_loaded(check)
        with self._making:
            for _ in range(ATTEMPTS):
                self._make_pending_block()
                with self.publishing:
                    if not len(self._pending):
                        return TableView(self._live.view()), take()
            with self.publishing:  # writes go on all the time, and have to wait for once
                self._make_pending_block()
                return TableView(self._live.view()), take()

    def close(self) -> None:
        """Stop the work in the background. Idempotent."""
        self._stop.set()
        self._wake.set()
        self._thread.join(CLOSE_TIMEOUT)

    def _wait_until_loaded(self, check: CheckStop) -> None:
        while not self._loaded.wait(0.05):
            check()
            if self._stop.is_set():
                raise ShuttingDown("the server is stopping")

    def _note_touched(self, added: int) -> None:
        """An item was written or removed; what is being read of it no longer counts."""
        if not self._loaded.is_set():
            self._touched.add(added)

    def _make_block(self) -> None:
        """Make a block of what is pending."""
        with self._making:
            self._make_pending_block()

    def _make_pending_block(self) -> None:
        """The same; the caller holds `_making`."""
        with self._lock:
            pending, self._pending = self._pending, PendingRows()
        if not len(pending):
            return
        try:
            block = pending.block()
        except BaseException:
            with self._lock:
                self._pending = pending.followed_by(self._pending)
            raise
        self._add([LiveBlock(block)], pending.replaced)
        self._merge_in_memory()
        if self._much_is_in_memory():
            self._wake.set()

    def _much_is_pending(self) -> bool:
        pending = self._pending
        return len(pending) >= self._pending_rows or pending.bytes >= PENDING_BYTES

    def _too_much_is_pending(self) -> bool:
        pending = self._pending
        return (
            len(pending) >= MAX_PENDING * self._pending_rows
            or pending.bytes >= MAX_PENDING * PENDING_BYTES
        )

    def _much_is_in_memory(self) -> bool:
        blocks = [each.block.batch for each in self._live if each.file is None]
        rows, size = sum(map(len, blocks)), sum(batch.nbytes for batch in blocks)
        return rows >= self._flush_rows or size >= FLUSH_BYTES

    def _add(self, blocks: Sequence[LiveBlock], replaced: Iterable[int]) -> None:
        """Add blocks, and delete what they replace and what has been removed, in one step."""
        with self._lock:
            rest = self._live.add(blocks, self._gone.union(replaced))
            self._gone = self._pending.labels_among(rest) if rest else rest

    def _merge_in_memory(self) -> None:
        """Keep the blocks in memory few, and each row rarely copied."""
        while True:
            small = sorted(
                (each for each in self._live if each.file is None and not each.busy),
                key=lambda each: len(each.block),
            )
            if len(small) < 2:
                return
            first, second = small[:2]
            unlike = len(second.block) > 2 * len(first.block) or len(first.block) >= LARGE_ROWS
            if unlike and len(small) <= MEMORY_BLOCKS:
                return
            if len(first.block) + len(second.block) > self._flush_rows or not are_mergeable(
                small[:2]
            ):
                return
            with self._live.rewriting([first, second]) as rewriting:
                self._live.replace(rewriting, [*map(LiveBlock, merged(rewriting.pairs()))])

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if not self._loaded.is_set():
                    self._load()
                self._keep_up()
            except ShuttingDown:
                return
            except StorageError as error:
                log.error("the columns of items are behind: %s", error)
                self._stop.wait(RETRY)
            except Exception:  # the outermost function of this thread
                log.exception("the columns of items are behind")
                self._stop.wait(RETRY)
            else:
                self._wake.wait()
                self._wake.clear()

    def _load(self) -> None:
        blocks = loaded_blocks(self._store, self._files, self._stored, self._stop)
        with self._lock:
            touched = np.array([*self._touched], np.int64)
            for each in blocks:
                for row in np.flatnonzero(np.isin(each.block.added, touched)).tolist():
                    each.delete(row)
            self._live.add(blocks, ())
            self._touched.clear()
            self._loaded.set()

    def _keep_up(self) -> None:
        """Make blocks of what is pending, and files of these, until nothing is left to do."""
        while not self._stop.is_set():
            # in this order: every row up to the watermark is in a block then
            watermark = self._store.labels.low_watermark()
            if self._much_is_pending():
                self._make_block()
            if self._much_is_in_memory():
                self._make_block()
                with self._making:
                    chosen = self._writer.choose()
                if not self._writer.flush(chosen, watermark):
                    return  # a write has not ended yet
            elif not self._writer.merge() and not self._much_is_pending():
                return
