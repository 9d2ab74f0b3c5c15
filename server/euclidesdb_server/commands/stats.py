"""`euclidesdb stats`: a short overview of a running server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from euclidesdb_server.commands.connection import connected
from euclidesdb_server.commands.model_text import disk, index_state
from euclidesdb_server.commands.parameters import address_option, json_option
from euclidesdb_server.commands.printing import counted, print_json, print_table, printable
from euclidesdb_server.commands.stats_text import duration, seconds, stats_object

if TYPE_CHECKING:
    import euclidesdb


@click.command()
@address_option
@json_option
def stats(*, address: str, as_json: bool) -> int:
    """An overview of a running server: items, models and their indexes, calls, disk, memory."""
    with connected(address) as client:
        items = client.count()
        models = client.models()
        numbers = client.stats()
    size = sum(model.disk_bytes for model in models)
    if as_json:
        rows = [
            {
                "name": model.name,
                "state": model.state,
                "items": model.items,
                "index": index_state(model.index),
                "disk_bytes": model.disk_bytes,
            }
            for model in models
        ]
        overview = {"items": items, "disk_bytes": size, "models": rows}
        print_json({**overview, "server": stats_object(numbers)})
        return 0
    on_disk = f"; vectors and indexes take {disk(size)}" if size else ""
    print(f"{counted(items)}{on_disk}")
    for line in _lines(numbers):
        print(line)
    print()
    print_table(
        ["model", "state", "items", "disk", "index"],
        [
            [
                printable(model.name),
                model.state,
                f"{model.items:,}",
                disk(model.disk_bytes),
                printable(index_state(model.index)),
            ]
            for model in models
        ],
        right=("items", "disk"),
        max_cell=1000,
        fitted=True,
    )
    return 0


def _lines(numbers: euclidesdb.ServerStats) -> list[str]:
    """The state of the server, in a few lines."""
    calls = sum(sum(each.by_status.values()) for each in numbers.calls)
    failed = calls - sum(each.by_status.get("OK", 0) for each in numbers.calls)
    workers = sum(model.worker_memory_bytes for model in numbers.models)
    builds = f"{numbers.builds_running} running, {numbers.builds:,} done"
    if numbers.builds_failed:
        builds += f", {numbers.builds_failed:,} failed"
    lines = [
        f"version {printable(numbers.version)}, up for {duration(numbers.uptime_seconds)}",
        f"{counted(calls, 'call')}, of which {failed:,} failed; "
        f"{numbers.calls_in_flight:,} in flight",
        f"memory: {disk(numbers.memory_bytes)}; of workers: {disk(workers) or '0 MiB'}",
        f"data folder: {disk(numbers.data_bytes)}; free on its disk: "
        f"{disk(numbers.disk_free_bytes)}; a sync takes "
        f"{seconds(numbers.sync_seconds.quantile(0.5))}",
        f"index builds: {builds}",
    ]
    if not numbers.is_writable:
        lines.append("writes are refused: see the log of the server")
    return lines
