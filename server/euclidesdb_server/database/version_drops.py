"""VersionDrops: deletes versions that have been dropped, in the background.

A drop is one record in the store; once that is on disk, the version is gone (`SpaceTable.drop`).
What is stored of it is deleted afterwards, in batches, while items are added, searched and removed.
A drop that is interrupted, by a crash or a full disk, is continued: at the next start, or after
RETRY_INTERVAL.

The order of steps: rows, with what the records of items know of them; other records of the space;
its segments; the disk space, by a compaction of LevelDB; finally the record of the space. So as
long as anything is left, that record shows it.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from euclidesdb_server.database.superseded_space import SupersededSpace
from euclidesdb_server.errors import CorruptRecord, DatabaseError, ShuttingDown
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.store import FeatureStore, ItemRecord, SpaceRecord
from euclidesdb_server.store.keys import FAILURE, VECTOR
from euclidesdb_server.system.fsync import sync

RETRY_INTERVAL: Final = 10.0
"""Seconds after which a drop that failed is tried again."""

log = logging.getLogger(__name__)


class VersionDrops:
    """Deletes dropped versions in one thread, one after the other. Thread-safe.

    lock_items: keeps other writes of these items out; raises StorageError while nothing can be
    written. segments: the folder of all segments. stop_rewriting: keeps new segments of a space
    from being written; returns when none is. retry_interval: in seconds.

    `close` is idempotent; what is not done then is continued at the next start.
    """

    def __init__(
        self,
        store: FeatureStore,
        lock_items: Callable[[Sequence[str]], AbstractContextManager[None]],
        segments: Path,
        *,
        stop_rewriting: Callable[[ModelSpace], None],
        retry_interval: float = RETRY_INTERVAL,
    ) -> None:
        """Continue the drops that are not finished."""
        self._store = store
        self._lock_items = lock_items
        self._segments = segments
        self._stop_rewriting = stop_rewriting
        self._retry_interval = retry_interval
        self._condition = threading.Condition()
        self._waiting: deque[tuple[SpaceRecord, SupersededSpace | None]] = deque(
            (record, None) for record in store.space_table.unfinished_drops()
        )
        self._deleting = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="version-drops", daemon=True)
        self._thread.start()

    def begin(self, space: SupersededSpace) -> None:
        """Drop a version. When this returns, it is gone, and stays so after any crash.

        Raises StorageError, ShuttingDown; the version is there then.
        """
        record = space.record
        with self._lock_items(()):  # after a failed write, recovers or raises
            self._store.space_table.drop(record.number)
        space.drop()
        log.info("version %s is dropped; its rows are being deleted", space.name)
        with self._condition:
            self._waiting.append((record, space))
            self._condition.notify_all()

    def keep(self, number: int) -> None:
        """Undo a drop that failed, if there was one. Raises StorageError, ShuttingDown."""
        self._store.space_table.keep(number)

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Wait until every version dropped is deleted; False if `timeout` passed first."""
        with self._condition:
            return self._condition.wait_for(
                lambda: not self._waiting and not self._deleting, timeout
            )

    def close(self) -> None:
        """Stop after the batch in progress."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        self._thread.join()

    def _run(self) -> None:
        self._delete_leftovers()
        while (dropped := self._next()) is not None:
            record, space = dropped
            try:
                self._delete(record, space)
            except ShuttingDown as error:
                log.info("space %d is not deleted completely: %s", record.number, error)
                self._retry(record, space)
            except DatabaseError as error:
                log.error("space %d is not deleted completely: %s", record.number, error)
                self._retry(record, space)
            except Exception:  # the outermost loop of this thread
                log.exception("space %d is not deleted completely", record.number)
                self._retry(record, space)
            finally:
                with self._condition:
                    self._deleting = False
                    self._condition.notify_all()

    def _next(self) -> tuple[SpaceRecord, SupersededSpace | None] | None:
        with self._condition:
            self._condition.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            self._deleting = True
            return self._waiting.popleft()

    def _retry(self, record: SpaceRecord, space: SupersededSpace | None) -> None:
        with self._condition:
            self._waiting.append((record, space))
            self._condition.wait_for(lambda: self._closed, self._retry_interval)

    def _delete(self, record: SpaceRecord, space: SupersededSpace | None) -> None:
        number, data = record.number, self._store.space_data
        # a write that has not seen the drop yet may still add a row
        self._store.labels.wait_for_writes()
        last_label = self._store.labels.low_watermark()
        deleted = self._delete_rows(number, VECTOR)
        self._delete_rows(number, FAILURE)
        if space is not None:
            self._wait_until_unused(space)
        data.delete_rest(number, self._check_open)
        self._delete_segments(number)
        data.compact(number, last_label, self._before_compaction)
        self._store.space_table.finish_drop(number)
        log.info(
            "version %r of model %r is deleted: %d rows", record.fingerprint, record.model, deleted
        )

    def _delete_rows(self, number: int, kind: bytes) -> int:
        """Delete rows of a space, and what the records of their items know of them."""
        data = self._store.space_data
        deleted = label = 0
        while rows := data.labels_after(number, label, kind):
            self._check_open()
            ids = [item_id for item_id in rows.values() if item_id is not None]
            with self._lock_items(ids):
                data.delete_rows(number, rows, self._records(ids))
            deleted, label = deleted + len(rows), max(rows)
        return deleted

    def _delete_leftovers(self) -> None:
        """Delete what a build has left that had been requested before its space was dropped."""
        table = self._store.space_table
        unfinished = {record.number for record in table.unfinished_drops()}
        try:
            for number in table.dropped():
                self._delete_segments(number)
                if number not in unfinished:
                    self._store.space_data.delete_rest(number, self._check_open)
        except (DatabaseError, OSError) as error:
            log.warning("the rest of dropped versions is deleted at the next start: %s", error)

    def _wait_until_unused(self, space: SupersededSpace) -> None:
        """Wait until no thread writes segments of a space that has been dropped."""
        space.wait_for_opening()
        if space.opened is not None:
            self._stop_rewriting(space.opened)

    def _records(self, ids: Iterable[str]) -> Mapping[str, ItemRecord]:
        """The records of items, but for those that cannot be read: they name no row."""
        records: dict[str, ItemRecord] = {}
        for item_id in ids:
            try:
                record = self._store.item(item_id)
            except CorruptRecord as error:
                log.error("item %r keeps a record that cannot be read: %s", item_id, error)
                continue
            if record is not None:
                records[item_id] = record
        return records

    def _delete_segments(self, number: int) -> None:
        folder = self._segments / str(number)
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
            sync(self._segments)

    def _before_compaction(self) -> None:
        self._check_open()
        # it begins a new log; without a synced write in the old one, that would look like a loss
        self._store.sync()

    def _check_open(self) -> None:
        if self._closed:
            raise ShuttingDown("the server is stopping")
