"""The numbers of a server as a message of the v1 API."""

from __future__ import annotations

import time

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.monitoring.stats import CallStats, ModelStats, ServerStats
from euclidesdb_server.system.measures import Histogram


def stats_message(stats: ServerStats) -> pb.StatsReply:
    """All of them."""
    database, traffic = stats.database, stats.traffic
    reply = pb.StatsReply(
        version=database.version,
        uptime_seconds=max(0.0, time.time() - database.started_at),
        items=database.items,
        models=map(_model, database.models),
        calls=map(_calls, stats.calls),
        calls_in_flight=traffic.calls,
        streams_open=traffic.streams,
        request_bytes_in_flight=traffic.request_bytes,
        unread_reply_bytes=traffic.unread_bytes,
        connections=traffic.connections,
        is_writable=database.store.is_writable,
        sync_seconds=_histogram(database.store.synced_in),
        sync_writes=_histogram(database.store.group_sizes),
        builds_running=database.builds.running,
        builds=database.builds.built,
        builds_failed=database.builds.failed,
        build_seconds=_histogram(database.builds.built_in),
        memory_bytes=database.memory_bytes,
        data_bytes=database.data_bytes,
        disk_free_bytes=database.disk_free_bytes,
        disk_total_bytes=database.disk_total_bytes,
    )
    if database.cache is not None:
        reply.cache_hits = database.cache.hits
        reply.cache_misses = database.cache.misses
        reply.cache_bytes = database.cache.size_bytes
    return reply


def _model(stats: ModelStats) -> pb.ModelStats:
    return pb.ModelStats(
        name=stats.name,
        state=stats.state,
        items=stats.items,
        indexed_rows=stats.indexed_rows,
        unindexed_rows=stats.unindexed_rows,
        deleted_rows=stats.deleted_rows,
        segments=stats.segments,
        building=stats.building,
        index_failed=stats.index_failed,
        recall=stats.recall,
        recall_samples=stats.recall_samples,
        disk_bytes=stats.disk_bytes,
        queue_length=stats.queue_length,
        workers=stats.workers,
        worker_restarts=stats.worker_restarts,
        worker_memory_bytes=stats.worker_memory_bytes,
        items_run=stats.items_run,
        batch_items=_histogram(stats.batch_sizes),
        queue_seconds=_histogram(stats.queue_seconds),
        inference_seconds=_histogram(stats.run_seconds),
    )


def _calls(stats: CallStats) -> pb.CallStats:
    return pb.CallStats(
        method=stats.method.removeprefix("/"),
        by_status=dict(stats.by_status),
        seconds=_histogram(stats.seconds),
    )


def _histogram(histogram: Histogram) -> pb.StatsHistogram:
    return pb.StatsHistogram(
        bounds=histogram.bounds, counts=histogram.counts, total=histogram.total
    )
