"""`euclidesdb update`: change the attributes of items, without running a model."""

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
    where_option,
)


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID...]")
@where_option
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
@click.option("--dry-run", is_flag=True, help="Change nothing; count the items.")
@click.option("--yes", is_flag=True, help="With --where, change without asking.")
@address_option
@json_option
def update(
    *,
    ids: Sequence[str],
    where: str | None,
    dry_run: bool,
    yes: bool,
    assignments: Sequence[tuple[str, Any]],
    merge: dict[str, Any] | None,
    replace: dict[str, Any] | None,
    remove: Sequence[str],
    address: str,
    as_json: bool,
) -> int:
    """Change the attributes of items: of some ids, or with --where of all that match a filter.

    Prints the attributes of a single item as they are then. Vectors stay.
    """
    from euclidesdb_server.commands.updating import Updating  # noqa: PLC0415  needs the client

    changes = bool(assignments or merge is not None or remove)
    if changes == (replace is not None):
        raise click.UsageError(
            "give --set, --merge and --remove as needed, or --replace alone",
            click.get_current_context(),
        )
    if bool(ids) == (where is not None):
        raise click.UsageError("give either ids or --where", click.get_current_context())
    change = {"attributes": replace, "merge": _merged(merge, assignments), "remove": remove}
    with connected(address) as client:
        updating = Updating(client, change, as_json=as_json)
        if where is None:
            return updating.named(ids, dry_run=dry_run)
        return updating.matching(where, dry_run=dry_run, ask=not yes)


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
