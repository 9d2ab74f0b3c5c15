"""`euclidesdb stats`: a short overview of a running server."""

from __future__ import annotations

import click

from euclidesdb_server.commands.connection import connected
from euclidesdb_server.commands.model_text import disk, index_state
from euclidesdb_server.commands.parameters import address_option, json_option
from euclidesdb_server.commands.printing import counted, print_json, print_table, printable


@click.command()
@address_option
@json_option
def stats(*, address: str, as_json: bool) -> int:
    """An overview of a running server: its items, and of each model the vectors and the index."""
    with connected(address) as client:
        items = client.count()
        models = client.models()
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
        print_json({"items": items, "disk_bytes": size, "models": rows})
        return 0
    on_disk = f"; vectors and indexes take {disk(size)}" if size else ""
    print(f"{counted(items)}{on_disk}\n")
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
