"""Collection: reads the measures of the rooms, when somebody asks."""

from __future__ import annotations

import os
import shutil
import threading
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Final

import numpy as np
import psutil

from euclidesdb_server.columns import ItemTable
from euclidesdb_server.database import ModelTable
from euclidesdb_server.database.results import ModelStatus
from euclidesdb_server.errors import DatabaseError
from euclidesdb_server.index import SegmentBuilder
from euclidesdb_server.inference import EmbeddingCache, Model
from euclidesdb_server.inference.run_measures import RunMeasures
from euclidesdb_server.monitoring.stats import (
    BuildStats,
    CacheStats,
    DatabaseStats,
    ModelStats,
    StoreStats,
)
from euclidesdb_server.store import FeatureStore
from euclidesdb_server.values.status import IndexStatus, ModelState

DISK_INTERVAL: Final = 10.0
"""Seconds between looks at all files of the data folder."""
NO_INDEX: Final = IndexStatus("", 0, 0, 0, building=False, verifying=False, failure="",
                              recall=None, recall_samples=0)  # fmt: skip


class Collection:
    """The numbers of one database. Thread-safe."""

    def __init__(
        self,
        folder: Path,
        store: FeatureStore,
        models: ModelTable,
        builder: SegmentBuilder,
        table: ItemTable,
        *,
        cache: EmbeddingCache | None,
    ) -> None:
        """folder: the data folder."""
        self._folder = folder
        self._store = store
        self._models = models
        self._builder = builder
        self._cache = cache
        self._table = table
        self._started_at = time.time()
        self._version = metadata.version("euclidesdb")
        self._process = psutil.Process()
        self._lock = threading.Lock()
        self._data_bytes = 0
        self._looked_at = -DISK_INTERVAL

    def read(self) -> DatabaseStats:
        """The numbers now."""
        free, total = self._disk()
        return DatabaseStats(
            version=self._version,
            started_at=self._started_at,
            items=self._items(),
            models=self._model_stats(),
            store=StoreStats(
                self._store.failure is None,
                self._store.group_commit.synced_in.read(),
                self._store.group_commit.group_sizes.read(),
            ),
            builds=BuildStats(
                self._builder.running.value,
                self._builder.built.value,
                self._builder.failed.value,
                self._builder.built_in.read(),
            ),
            cache=None
            if self._cache is None
            else CacheStats(self._cache.hits, self._cache.misses, self._cache.size_bytes),
            memory_bytes=self._process.memory_info().rss,
            data_bytes=self._data(),
            disk_free_bytes=free,
            disk_total_bytes=total,
        )

    def _items(self) -> int | None:
        try:
            blocks = self._table.view(_do_not_wait).blocks
            return sum(int(np.count_nonzero(mask)) for _, mask in blocks)
        except (_NotLoaded, DatabaseError):
            return None

    def _model_stats(self) -> tuple[ModelStats, ...]:
        models, counted = self._models.models(), set[int]()
        return tuple(
            _stats(status, models.get(status.name), counted)
            for status in self._models.statuses()
            if status.state is not ModelState.SUPERSEDED
        )

    def _disk(self) -> tuple[int, int]:
        try:
            usage = shutil.disk_usage(self._folder)
        except OSError:
            return 0, 0
        return usage.free, usage.total

    def _data(self) -> int:
        """The size of all files in the data folder, at most DISK_INTERVAL seconds old."""
        with self._lock:
            if time.monotonic() - self._looked_at >= DISK_INTERVAL:
                self._data_bytes = _size_below(self._folder)
                self._looked_at = time.monotonic()
            return self._data_bytes


class _NotLoaded(Exception):
    """What is stored has not been read yet."""


def _do_not_wait() -> None:
    raise _NotLoaded


def _stats(status: ModelStatus, model: Model | None, counted: set[int]) -> ModelStats:
    """counted: the processes whose memory has been counted; those of this model are added."""
    index = status.index or NO_INDEX
    measures = RunMeasures() if model is None else model.measures
    pids = () if model is None else model.worker_pids
    memory = sum(_memory(pid) for pid in pids if pid not in counted)
    counted.update(pids)
    return ModelStats(
        name=status.name,
        state=str(status.state),
        ready=status.state is ModelState.READY,
        items=status.items,
        indexed_rows=index.indexed_rows,
        unindexed_rows=index.unindexed_rows,
        deleted_rows=index.deleted_rows,
        segments=index.segments,
        building=index.building,
        index_failed=bool(index.failure),
        recall=index.recall,
        recall_samples=index.recall_samples,
        disk_bytes=status.disk_bytes,
        items_run=status.items_run,
        batches_run=status.batches_run,
        queue_length=0 if model is None else model.queue_length,
        workers=len(pids),
        worker_restarts=measures.worker_restarts.value,
        worker_memory_bytes=memory,
        batch_sizes=measures.batch_sizes.read(),
        queue_seconds=measures.queue_seconds.read(),
        run_seconds=measures.run_seconds.read(),
    )


def _memory(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:  # it has ended
        return 0


def _size_below(folder: Path) -> int:
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # it is gone
                size += Path(parent, name).lstat().st_size
    return size
