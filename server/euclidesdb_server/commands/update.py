"""`euclidesdb update`: change the attributes of an item, without running a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from euclidesdb_server.commands.connection import connected
from euclidesdb_server.commands.parameters import (
    address_option,
    assignment,
    json_object,
    json_option,
)
from euclidesdb_server.commands.printing import json_text, print_json, printable


@click.command()
@click.argument("item_id", metavar="ID")
@click.option(
    "--set",
    "assignments",
    type=assignment,
    multiple=True,
    metavar="KEY=VALUE",
    help="Set an attribute, with dots one in a nested object; VALUE is JSON, or else a text. May "
    "be repeated.",
)
@click.option(
    "--merge",
    type=json_object,
    metavar="JSON",
    help="Merge a JSON object into the attributes; null removes one.",
)
@click.option(
    "--replace", type=json_object, metavar="JSON", help="Replace all attributes by these."
)
@click.option(
    "--remove",
    multiple=True,
    metavar="KEY",
    help="Remove an attribute, with dots one in a nested object. May be repeated.",
)
@address_option
@json_option
def update(
    *,
    item_id: str,
    assignments: Sequence[tuple[str, Any]],
    merge: dict[str, Any] | None,
    replace: dict[str, Any] | None,
    remove: Sequence[str],
    address: str,
    as_json: bool,
) -> int:
    """Change the attributes of an item; prints what they are then. Its vectors stay."""
    changes = bool(assignments or merge is not None or remove)
    if changes == (replace is not None):
        raise click.UsageError(
            "give --set, --merge and --remove as needed, or --replace alone",
            click.get_current_context(),
        )
    merged = _merged(merge, assignments)
    with connected(address) as client:
        attributes = client.update(item_id, attributes=replace, merge=merged, remove=remove)
    if as_json:
        print_json({"id": item_id, "attributes": attributes})
    else:
        print(f"{printable(item_id)}  {json_text(attributes)}")
    return 0


def _merged(
    merge: dict[str, Any] | None, assignments: Sequence[tuple[str, Any]]
) -> dict[str, Any] | None:
    """One JSON merge patch of both; of a key given twice, the last assignment counts."""
    if not assignments:
        return merge
    patch: dict[str, Any] = dict(merge or {})
    for key, value in assignments:
        *outer, name = key.split(".")
        place = patch
        for part in outer:
            inner = place.get(part)
            place[part] = dict(inner) if isinstance(inner, dict) else {}
            place = place[part]
        place[name] = value
    return patch
