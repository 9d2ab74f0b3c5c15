"""`euclidesdb models`: list the models of a running server; also a health check by a real call."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from euclidesdb_server.commands.connection import connected
from euclidesdb_server.commands.model_text import disk, index_state, recall
from euclidesdb_server.commands.parameters import address_option, json_option
from euclidesdb_server.commands.printing import print_json, print_table, printable

if TYPE_CHECKING:
    import euclidesdb

HEADS = (
    "model", "state", "items", "input", "dim", "metric", "engine", "disk", "recall", "index",
)  # fmt: skip
"""The first ones are those that a narrow terminal shows."""


@click.command()
@address_option
@json_option
def models(*, address: str, as_json: bool) -> int:
    """List the models of a running server; with --json, an object on each line.

    The exit code is 1 if the server does not answer or no model is ready: a health check.
    """
    with connected(address, timeout=10) as client:
        found = client.models()
    if as_json:
        for model in found:
            print_json(asdict(model))
    else:
        right = ("dim", "items", "disk")
        print_table(HEADS, map(_row, found), right=right, max_cell=1000, fitted=True)
        for model in found:
            remark = model.reason or ("imported from EuclidesDB" if model.adopted else "")
            if remark:
                print(f"{printable(model.name)}: {printable(remark)}")
    return 0 if any(model.state == "ready" for model in found) else 1


def _row(model: euclidesdb.ModelInfo) -> list[str]:
    return [
        printable(model.name),
        model.state,
        f"{model.items:,}",
        model.input,
        str(model.feature_dim),
        model.metric,
        model.engine,
        disk(model.disk_bytes),
        recall(model.index),
        printable(index_state(model.index)),
    ]
