"""`euclidesdb remove`: remove items by id, or those that match a filter."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from euclidesdb_server.commands.confirmation import confirm
from euclidesdb_server.commands.connection import connected
from euclidesdb_server.commands.parameters import address_option, json_option, where_option
from euclidesdb_server.commands.printing import counted, print_json, printable

if TYPE_CHECKING:
    import euclidesdb


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID...]")
@where_option
@click.option("--dry-run", is_flag=True, help="Remove nothing; say how many items would be.")
@click.option("--yes", is_flag=True, help="With --where, remove without asking.")
@address_option
@json_option
def remove(
    *, ids: Sequence[str], where: str | None, dry_run: bool, yes: bool, address: str, as_json: bool
) -> int:
    """Remove the items with these ids, or with --where all that match a filter."""
    if bool(ids) == (where is not None):
        raise click.UsageError("give either ids or --where", click.get_current_context())
    with connected(address) as client:
        if where is None:
            removal = client.remove_many(ids, dry_run=dry_run)
        else:
            if not (dry_run or yes):
                confirm(client.remove_many(filter=where, dry_run=True).removed, "remove", "removed")
            removal = client.remove_many(filter=where, dry_run=dry_run)
    _report(removal, dry_run=dry_run, as_json=as_json)
    return 1 if removal.missing or removal.refused else 0


def _report(removal: euclidesdb.Removal, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        refused = [
            {"id": each.id, "reason": each.reason, "message": str(each.error)}
            for each in removal.refused
        ]
        fields = {"missing": list(removal.missing), "errors": refused, "dry_run": dry_run}
        print_json({"removed": removal.removed, **fields})
        return
    print(f"{counted(removal.removed)} {'would be removed' if dry_run else 'removed'}")
    sys.stdout.flush()
    for item_id in removal.missing:
        print(f"euclidesdb: there is no item {item_id!r}", file=sys.stderr)
    for each in removal.refused:
        print(f"euclidesdb: {printable(f'{each.id}: {each.error}')}", file=sys.stderr)
