"""What a server did between two readings of its numbers, as JSON values."""

from __future__ import annotations

from typing import Any

import euclidesdb


def activity(
    before: euclidesdb.ServerStats, after: euclidesdb.ServerStats, elapsed: float
) -> dict[str, Any]:
    """What happened in `elapsed` seconds; all that `after` has, if the server began in between."""
    restarted = after.uptime_seconds < before.uptime_seconds
    old_calls = {} if restarted else {each.method: each for each in before.calls}
    old_models = {} if restarted else {each.name: each for each in before.models}
    calls = [_calls(old_calls.get(each.method), each, elapsed) for each in after.calls]
    models = [_model(old_models.get(each.name), each, elapsed) for each in after.models]
    return {
        "version": after.version,
        "uptime_seconds": after.uptime_seconds,
        "items": after.items,
        "calls_per_second": sum(each["calls_per_second"] for each in calls),
        "errors_per_second": sum(each["errors_per_second"] for each in calls),
        "calls_in_flight": after.calls_in_flight,
        "streams_open": after.streams_open,
        "connections": after.connections,
        "request_bytes_in_flight": after.request_bytes_in_flight,
        "is_writable": after.is_writable,
        "sync_p99_seconds": after.sync_seconds.since(
            None if restarted else before.sync_seconds
        ).quantile(0.99),
        "builds_running": after.builds_running,
        "builds_failed": after.builds_failed,
        "memory_bytes": after.memory_bytes,
        "disk_free_bytes": after.disk_free_bytes,
        "methods": [each for each in calls if each["calls_per_second"]],
        "models": models,
    }


def _calls(
    before: euclidesdb.CallStats | None, after: euclidesdb.CallStats, elapsed: float
) -> dict[str, Any]:
    old = {} if before is None else before.by_status
    new = {status: count - old.get(status, 0) for status, count in after.by_status.items()}
    spent = after.seconds.since(None if before is None else before.seconds)
    total = max(0, sum(new.values()))
    return {
        "method": after.method,
        "calls_per_second": total / elapsed,
        "errors_per_second": max(0, total - new.get("OK", 0)) / elapsed,
        "p50_seconds": spent.quantile(0.5),
        "p99_seconds": spent.quantile(0.99),
    }


def _model(
    before: euclidesdb.ModelStats | None, after: euclidesdb.ModelStats, elapsed: float
) -> dict[str, Any]:
    waited = after.queue_seconds.since(None if before is None else before.queue_seconds)
    ran = after.inference_seconds.since(None if before is None else before.inference_seconds)
    sizes = after.batch_items.since(None if before is None else before.batch_items)
    items = after.items_run - (0 if before is None else before.items_run)
    return {
        "name": after.name,
        "state": after.state,
        "items": after.items,
        "items_run_per_second": max(0, items) / elapsed,
        "queue_length": after.queue_length,
        "queue_p99_seconds": waited.quantile(0.99),
        "inference_p50_seconds": ran.quantile(0.5),
        "mean_batch": sizes.total / sizes.count if sizes.count else None,
        "workers": after.workers,
        "worker_restarts": after.worker_restarts,
        "worker_memory_bytes": after.worker_memory_bytes,
        "unindexed_rows": after.unindexed_rows,
        "segments": after.segments,
        "building": after.building,
        "index_failed": after.index_failed,
        "recall": after.recall,
    }
