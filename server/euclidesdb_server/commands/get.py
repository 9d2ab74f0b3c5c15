"""`euclidesdb get`: show items."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from euclidesdb_server.commands.connection import connected
from euclidesdb_server.commands.item_json import item_object, print_item
from euclidesdb_server.commands.parameters import address_option, json_option, path
from euclidesdb_server.commands.printing import print_json, printable

if TYPE_CHECKING:
    import euclidesdb


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--vectors", is_flag=True, help="Show the vectors.")
@click.option("--predictions", is_flag=True, help="Show the predictions.")
@click.option(
    "--payload",
    type=path,
    metavar="FILE",
    help="Write the image, text or tensor (as .npy) of the only ID to this file.",
)
@address_option
@json_option
def get(
    *,
    ids: Sequence[str],
    vectors: bool,
    predictions: bool,
    payload: Path | None,
    address: str,
    as_json: bool,
) -> int:
    """Show the items with these ids; with --json, each as a JSON object on a line of its own."""
    if payload is not None and len(ids) > 1:
        raise click.UsageError("--payload writes that of a single ID", click.get_current_context())
    with connected(address) as client:
        found = client.get_many(
            ids,
            include_vectors=vectors,
            include_predictions=predictions,
            include_payload=payload is not None,
        )
    for item in found.values():
        if as_json:
            print_json(item_object(item))
        else:
            print_item(item)
    if payload is not None:
        for item in found.values():
            _write_payload(item, payload)
    sys.stdout.flush()
    for item_id in found.missing:
        print(f"euclidesdb: there is no item {printable(repr(item_id))}", file=sys.stderr)
    for refused in found.refused:
        print(f"euclidesdb: {printable(f'{refused.id}: {refused.error}')}", file=sys.stderr)
    return 1 if found.missing or found.refused else 0


def _write_payload(item: euclidesdb.Item, file: Path) -> None:
    """Write the raw item. Raises ClickException if it is not kept or the file cannot be written."""
    try:
        if item.image is not None:
            file.write_bytes(item.image)
        elif item.text is not None:
            file.write_text(item.text, encoding="utf-8")
        elif item.tensor is not None:
            import numpy as np  # noqa: PLC0415  for this alone

            with file.open("wb") as stream:
                np.save(stream, item.tensor)
        else:
            raise click.ClickException(f"item {item.id!r} has no image, text or tensor")
    except OSError as error:
        raise click.ClickException(f"cannot write {file}: {error}") from error
