"""The view of `euclidesdb top`, by rich. Names are shown as they are, never as its markup."""

from __future__ import annotations

from typing import Any, Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from euclidesdb_server.commands.model_text import disk
from euclidesdb_server.commands.printing import counted, printable
from euclidesdb_server.commands.stats_text import duration, seconds

NARROW: Final = (
    "model", "state", "items", "run/s", "queue", "wait p99", "run p50", "workers", "recall",
)  # fmt: skip
WIDE: Final = (
    "model", "state", "items", "run/s", "queue", "wait p99", "batch", "run p50", "workers",
    "restarts", "memory", "unindexed", "segments", "recall",
)  # fmt: skip
WIDE_COLUMNS: Final = 140
"""A terminal of so many has room for all that is known of a model."""


class LiveView:
    """The whole terminal, until it is left; then the terminal is as it was."""

    def __init__(self) -> None:
        self._live = Live(Text("reading ..."), screen=True, auto_refresh=False)

    def show(self, now: dict[str, Any]) -> None:
        """Show what `activity` returns."""
        self._live.update(view(now, self._live.console.width), refresh=True)

    def note(self, text: str) -> None:
        """Show a text in the place of the numbers."""
        self._live.update(Text(text, style="bold red"), refresh=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


def print_view(now: dict[str, Any]) -> None:
    """Print it once, in as many columns as it takes if this is not a terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(view(now, console.width))


def view(now: dict[str, Any], columns: int) -> Group:
    """What `activity` returns, as text and tables, in so many columns."""
    return Group(_head(now), Text(), _methods(now), Text(), _models(now, columns))


def _head(now: dict[str, Any]) -> Text:
    items = "items are being counted" if now["items"] is None else counted(now["items"])
    connections = "" if now["connections"] is None else f"{now['connections']:,} connections, "
    lines = [
        f"EuclidesDB {printable(now['version'])}, up for {duration(now['uptime_seconds'])}, "
        f"{items}",
        f"{now['calls_per_second']:,.1f} calls/s, {now['errors_per_second']:,.1f} errors/s, "
        f"{connections}{now['calls_in_flight']:,} calls and {now['streams_open']:,} streams in "
        "flight",
        f"memory {disk(now['memory_bytes'])}, disk free {disk(now['disk_free_bytes'])}, sync p99 "
        f"{seconds(now['sync_p99_seconds'])}, builds running {now['builds_running']:,}, failed "
        f"{now['builds_failed']:,}",
    ]
    head = Text("\n".join(lines))
    if not now["is_writable"]:
        head.append("\nwrites are refused: see the log of the server", style="bold red")
    return head


def _methods(now: dict[str, Any]) -> Table:
    table = _table("method", "calls/s", "errors/s", "p50", "p99")
    busiest = sorted(now["methods"], key=lambda each: -each["calls_per_second"])
    for each in busiest:
        table.add_row(
            Text(printable(each["method"].rpartition("/")[2])),
            f"{each['calls_per_second']:,.1f}",
            f"{each['errors_per_second']:,.1f}",
            seconds(each["p50_seconds"]),
            seconds(each["p99_seconds"]),
        )
    return table


def _models(now: dict[str, Any], columns: int) -> Table:
    heads = WIDE if columns >= WIDE_COLUMNS else NARROW
    table = _table(*heads)
    for each in now["models"]:
        cells = _model_cells(each)
        table.add_row(*(cells[head] for head in heads))
    return table


def _model_cells(model: dict[str, Any]) -> dict[str, str | Text]:
    marks = " building" * model["building"] + " failed" * model["index_failed"]
    return {
        "model": Text(printable(model["name"])),
        "state": Text(model["state"], style="" if model["state"] == "ready" else "bold red"),
        "items": f"{model['items']:,}",
        "run/s": f"{model['items_run_per_second']:,.1f}",
        "queue": f"{model['queue_length']:,}",
        "wait p99": seconds(model["queue_p99_seconds"]),
        "batch": "-" if model["mean_batch"] is None else f"{model['mean_batch']:.1f}",
        "run p50": seconds(model["inference_p50_seconds"]),
        "workers": str(model["workers"]),
        "restarts": str(model["worker_restarts"]),
        "memory": disk(model["worker_memory_bytes"]),
        "unindexed": f"{model['unindexed_rows']:,}",
        "segments": f"{model['segments']}{marks}",
        "recall": "-" if model["recall"] is None else f"{model['recall']:.3f}",
    }


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first, overflow="ellipsis", min_width=8, no_wrap=True)
    for head in others:
        table.add_column(head, justify="left" if head == "state" else "right", no_wrap=True)
    return table
