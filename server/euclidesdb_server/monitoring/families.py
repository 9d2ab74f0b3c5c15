"""The metrics by name, as Prometheus takes them. docs/monitoring.md lists them for operators."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, TypeAlias

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from euclidesdb_server.monitoring.stats import CallStats, DatabaseStats, ModelStats, ServerStats
from euclidesdb_server.system.measures import Histogram

Value: TypeAlias = "float | bool | Histogram | None"
"""None: it is not known, and left out."""
Family: TypeAlias = "CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily"

PREFIX: Final = "euclidesdb_"

OF_MODELS: Final[Sequence[tuple[str, str, Callable[[ModelStats], Value]]]] = (
    ("model_ready", "Whether payloads are embedded.", lambda of: of.ready),
    ("model_items", "Items with a vector of the model.", lambda of: of.items),
    ("model_indexed_rows", "Rows with an index.", lambda of: of.indexed_rows),
    (
        "model_unindexed_rows",
        "Rows without an index, which are searched exactly.",
        lambda of: of.unindexed_rows,
    ),
    (
        "model_deleted_rows",
        "Deleted rows that segments still hold.",
        lambda of: of.deleted_rows,
    ),
    ("model_segments", "Segments that a search asks.", lambda of: of.segments),
    ("model_building", "Whether a segment is being written.", lambda of: of.building),
    (
        "model_index_failed",
        "Whether the index could not be built the last time.",
        lambda of: of.index_failed,
    ),
    (
        "model_recall_ratio",
        "Share of the true nearest neighbors that sampled searches found.",
        lambda of: of.recall,
    ),
    ("model_recall_samples", "Searches that the recall is of.", lambda of: of.recall_samples),
    ("model_disk_bytes", "Vectors and indexes on disk.", lambda of: of.disk_bytes),
    ("queue_length", "Items that wait for a worker.", lambda of: of.queue_length),
    (
        "queue_seconds",
        "From the arrival of an item until it was given to a worker.",
        lambda of: of.queue_seconds,
    ),
    (
        "inference_seconds",
        "Of a batch, from a worker's receipt to its results: decoding and forward pass.",
        lambda of: of.run_seconds,
    ),
    ("batch_items", "Items of a batch.", lambda of: of.batch_sizes),
    ("items_run_total", "Items that the program has run.", lambda of: of.items_run),
    ("workers", "Workers that are ready.", lambda of: of.workers),
    (
        "worker_restarts_total",
        "Workers that became ready in the place of others.",
        lambda of: of.worker_restarts,
    ),
    (
        "worker_memory_bytes",
        "Resident memory of the workers; one that models share counts for the first.",
        lambda of: of.worker_memory_bytes,
    ),
)

OF_DATABASE: Final[Sequence[tuple[str, str, Callable[[DatabaseStats], Value]]]] = (
    ("start_time_seconds", "When the server began, in seconds since the epoch.",
     lambda of: of.started_at),
    ("items", "Items that are stored.", lambda of: of.items),
    ("store_writable", "Whether writes are possible.", lambda of: of.store.is_writable),
    ("sync_seconds", "Writing and syncing a group of writes.", lambda of: of.store.synced_in),
    ("sync_writes", "Writes that shared a sync.", lambda of: of.store.group_sizes),
    ("builds_running", "Segments that are being built.", lambda of: of.builds.running),
    ("builds_total", "Segments that were built.", lambda of: of.builds.built),
    ("builds_failed_total", "Builds that failed.", lambda of: of.builds.failed),
    ("build_seconds", "Building a segment.", lambda of: of.builds.built_in),
    ("cache_hits_total", "Outputs of models that were not computed again.",
     lambda of: None if of.cache is None else of.cache.hits),
    ("cache_misses_total", "Outputs of models that were computed.",
     lambda of: None if of.cache is None else of.cache.misses),
    ("cache_bytes", "Memory of the cache of outputs.",
     lambda of: None if of.cache is None else of.cache.size_bytes),
    ("memory_bytes", "Resident memory of the server's process, without workers.",
     lambda of: of.memory_bytes),
    ("data_bytes", "Files in the data folder.", lambda of: of.data_bytes),
    ("disk_free_bytes", "Room on the disk of the data folder.", lambda of: of.disk_free_bytes),
    ("disk_total_bytes", "Size of the disk of the data folder.", lambda of: of.disk_total_bytes),
)  # fmt: skip

OF_SERVER: Final[Sequence[tuple[str, str, Callable[[ServerStats], Value]]]] = (
    ("calls_in_flight", "Calls that are being answered.", lambda of: of.traffic.calls),
    ("streams_open", "Streaming calls that are open.", lambda of: of.traffic.streams),
    ("request_bytes_in_flight", "Requests that arrive or are answered.",
     lambda of: of.traffic.request_bytes),
    ("unread_reply_bytes", "Replies that clients have yet to read.",
     lambda of: of.traffic.unread_bytes),
    ("connections", "Connections that are open; with nghttp2.",
     lambda of: of.traffic.connections),
)  # fmt: skip


def families(stats: ServerStats) -> Iterator[Metric]:
    """All metrics, with their values."""
    version = GaugeMetricFamily(PREFIX + "info", "The version.", labels=["version"])
    version.add_metric([stats.database.version], 1)
    yield version
    for name, text, of_server in OF_SERVER:
        yield from _family(name, text, [((), of_server(stats))])
    for name, text, of_database in OF_DATABASE:
        yield from _family(name, text, [((), of_database(stats.database))])
    for name, text, of_model in OF_MODELS:
        values = [((each.name,), of_model(each)) for each in stats.database.models]
        yield from _family(name, text, values, labels=("model",))
    yield from _of_calls(stats.calls)


def _of_calls(calls: Iterable[CallStats]) -> Iterator[Metric]:
    counted, timed = [], []
    for each in calls:
        method = each.method.removeprefix("/")
        timed.append(((method,), each.seconds))
        counted += [((method, status), count) for status, count in each.by_status.items()]
    yield from _family(
        "calls_total", "Calls that have ended.", counted, labels=("method", "status")
    )
    yield from _family(
        "call_seconds", "From the beginning of a call to its end.", timed, labels=("method",)
    )


def _family(
    name: str,
    text: str,
    values: Iterable[tuple[Sequence[str], Value]],
    labels: Sequence[str] = (),
) -> Iterator[Metric]:
    """The family of a name, of the kind that its values have; nothing without values."""
    known = [(of, value) for of, value in values if value is not None]
    if not known:
        return
    family: Family
    if isinstance(known[0][1], Histogram):
        family = HistogramMetricFamily(PREFIX + name, text, labels=labels)
    elif name.endswith("_total"):
        family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    else:
        family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for of, value in known:
        if isinstance(family, HistogramMetricFamily) and isinstance(value, Histogram):
            bounds = [*map(str, value.bounds), "+Inf"]
            buckets = zip(bounds, map(float, accumulate(value.counts)), strict=True)
            family.add_metric(of, [*buckets], value.total)
        elif not isinstance(family, HistogramMetricFamily) and not isinstance(value, Histogram):
            family.add_metric(of, float(value))
    yield family
