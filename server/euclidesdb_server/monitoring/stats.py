"""The numbers of a running server at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from euclidesdb_server.system.measures import Histogram


@dataclass(frozen=True, slots=True)
class CallStats:
    """The calls of one method that have ended. method: "/package.Service/Name"."""

    method: str
    by_status: Mapping[str, int]
    seconds: Histogram


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is being answered now.

    request_bytes: of requests that arrive or are answered. unread_bytes: of replies that clients
    have yet to read. connections: None if the transport does not tell.
    """

    calls: int
    streams: int
    request_bytes: int
    unread_bytes: int
    connections: int | None


@dataclass(frozen=True, slots=True)
class ModelStats:
    """One name under which vectors are stored; superseded versions are left out.

    ready: whether payloads are embedded. recall: None until it is measured. queue_length: items
    that wait for a worker. workers: those that are ready. worker_restarts: workers that became
    ready after the first ones. worker_memory_bytes: resident; a process that models share counts
    for the first of them. disk_bytes: of vectors and indexes.
    """

    name: str
    state: str
    ready: bool
    items: int
    indexed_rows: int
    unindexed_rows: int
    deleted_rows: int
    segments: int
    building: bool
    index_failed: bool
    recall: float | None
    recall_samples: int
    disk_bytes: int
    items_run: int
    batches_run: int
    queue_length: int
    workers: int
    worker_restarts: int
    worker_memory_bytes: int
    batch_sizes: Histogram
    queue_seconds: Histogram
    run_seconds: Histogram


@dataclass(frozen=True, slots=True)
class StoreStats:
    """The store. is_writable: False after a failed write, until it has recovered.

    synced_in: seconds of the syncs of groups of writes. group_sizes: writes that shared one.
    """

    is_writable: bool
    synced_in: Histogram
    group_sizes: Histogram


@dataclass(frozen=True, slots=True)
class BuildStats:
    """Builds of segments. built_in: seconds."""

    running: int
    built: int
    failed: int
    built_in: Histogram


@dataclass(frozen=True, slots=True)
class CacheStats:
    """The cache of embeddings."""

    hits: int
    misses: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DatabaseStats:
    """All but the calls.

    started_at: seconds since the epoch. items: None until they have been counted after a start.
    memory_bytes: resident, of the server's process. data_bytes: of all files in the data folder.
    """

    version: str
    started_at: float
    items: int | None
    models: tuple[ModelStats, ...]
    store: StoreStats
    builds: BuildStats
    cache: CacheStats | None
    memory_bytes: int
    data_bytes: int
    disk_free_bytes: int
    disk_total_bytes: int


@dataclass(frozen=True, slots=True)
class ServerStats:
    """Everything."""

    database: DatabaseStats
    calls: tuple[CallStats, ...]
    traffic: Traffic
