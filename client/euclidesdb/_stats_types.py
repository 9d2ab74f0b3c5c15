"""The numbers of a running server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many values were at most each bound, and above the bound before; the last: above all.

    counts: one more than bounds. total: the sum of the values.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """About the value that this share of the values does not exceed; None without values.

        Values are taken to be spread evenly between two bounds. One above all bounds is taken to
        be the last bound.
        """
        wanted, below = share * self.count, 0
        if not self.count:
            return None
        for place, count in enumerate(self.counts[:-1]):
            if count and below + count >= wanted:
                low = self.bounds[place - 1] if place else 0.0
                return low + (self.bounds[place] - low) * (wanted - below) / count
            below += count
        return self.bounds[-1] if self.bounds else None

    def since(self, earlier: Histogram | None) -> Histogram:
        """The values that were added after `earlier` was read; all if it has more than this one."""
        if earlier is None or earlier.bounds != self.bounds or earlier.count > self.count:
            return self
        counts = tuple(now - then for now, then in zip(self.counts, earlier.counts, strict=True))
        return Histogram(self.bounds, counts, self.total - earlier.total)


@dataclass(frozen=True, slots=True)
class CallStats:
    """The calls of one method that have ended: by gRPC status, and the seconds that they took."""

    method: str
    by_status: Mapping[str, int]
    seconds: Histogram


@dataclass(frozen=True, slots=True)
class ModelStats:
    """A model in numbers; docs/api.md explains each."""

    name: str
    state: str
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
    queue_length: int
    workers: int
    worker_restarts: int
    worker_memory_bytes: int
    items_run: int
    batch_items: Histogram
    queue_seconds: Histogram
    inference_seconds: Histogram


@dataclass(frozen=True, slots=True)
class ServerStats:
    """A server in numbers; docs/api.md explains each.

    items: None until they have been counted after a start. connections: None if the transport does
    not tell. cache_hits, cache_misses, cache_bytes: None without a cache.
    """

    version: str
    uptime_seconds: float
    items: int | None
    models: tuple[ModelStats, ...]
    calls: tuple[CallStats, ...]
    calls_in_flight: int
    streams_open: int
    request_bytes_in_flight: int
    unread_reply_bytes: int
    connections: int | None
    is_writable: bool
    sync_seconds: Histogram
    sync_writes: Histogram
    builds_running: int
    builds: int
    builds_failed: int
    build_seconds: Histogram
    cache_hits: int | None
    cache_misses: int | None
    cache_bytes: int | None
    memory_bytes: int
    data_bytes: int
    disk_free_bytes: int
    disk_total_bytes: int
