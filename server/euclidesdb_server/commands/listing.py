"""`euclidesdb count` and `euclidesdb list`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING

import click

from euclidesdb_server.commands.connection import connected
from euclidesdb_server.commands.item_json import item_object
from euclidesdb_server.commands.parameters import (
    address_option,
    json_option,
    model_of_state_option,
    state_option,
    where_option,
)
from euclidesdb_server.commands.printing import (
    print_json,
    print_table,
    printable,
    shown,
)

if TYPE_CHECKING:
    import euclidesdb
    from euclidesdb_server.commands.shown_fields import ShownFields

ROWS = 1000
"""Printed at a time: the widths of a table's columns are those of its first rows."""


@click.command()
@where_option
@state_option
@model_of_state_option
@address_option
@json_option
def count(
    *, where: str | None, state: str | None, model: str | None, address: str, as_json: bool
) -> int:
    """Count the items, all or those that match a filter."""
    with connected(address) as client:
        number = client.count(where, state=state, model=model)
    if as_json:
        print_json({"count": number})
    else:
        print(number)
    return 0


@click.command("list")
@where_option
@state_option
@model_of_state_option
@click.option(
    "--order-by", metavar="FIELD", help="A field; default: the order in which items were added."
)
@click.option("--descending", is_flag=True, help="The largest, or the last, first.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="At most so many items; 0: all.",
)
@click.option(
    "--show",
    "--attribute",
    "show",
    multiple=True,
    metavar="FIELD,...",
    help="The columns of the table: attributes, or digits.label, digits.confidence, ... "
    "(default: all attributes).",
)
@address_option
@json_option
def list_items(
    *,
    where: str | None,
    state: str | None,
    model: str | None,
    order_by: str | None,
    descending: bool,
    limit: int,
    show: Sequence[str],
    address: str,
    as_json: bool,
) -> int:
    """List items: a table, or with --json an object on each line."""
    from euclidesdb_server.commands.shown_fields import (  # noqa: PLC0415  it needs NumPy
        ShownFields,
        field_names,
    )

    with connected(address) as client:
        names = field_names(show)
        fields = ShownFields(names, client.models() if names else ())
        items = client.items(
            where,
            order_by=order_by,
            descending=descending,
            state=state,
            model=model,
            include_states=state == "failed",
            page_size=min(ROWS, limit + 1) if limit else ROWS,
            include_predictions=fields.of_predictions,
        )
        first = next(items, None)
        if first is None:
            print("there are no such items", file=sys.stderr)
            return 0
        items = chain([first], items)
        wanted = islice(items, limit or None)
        if as_json:
            for item in wanted:
                shown_object = {"show": fields.values(item)} if names else {}
                print_json({**item_object(item, outputs=False), **shown_object})
        else:
            _print_items(wanted, fields, with_failures=state == "failed")
        sys.stdout.flush()
        if limit and next(items, None) is not None:
            print(f"these are the first {limit:,}; --limit 0 lists all", file=sys.stderr)
    return 0


def _print_items(
    items: Iterator[euclidesdb.Item], fields: ShownFields, *, with_failures: bool
) -> None:
    while part := [*islice(items, ROWS)]:
        if not fields.names:
            fields = fields.of_attributes(part)
        rows = [
            [
                printable(item.id),
                ", ".join(map(printable, item.models)),
                *[_failures(item)] * with_failures,
                *map(shown, fields.values(item).values()),
            ]
            for item in part
        ]
        heads = ["id", "models", *["failures"] * with_failures, *map(printable, fields.names)]
        print_table(heads, rows, fitted=True)


def _failures(item: euclidesdb.Item) -> str:
    found = [state.failure for state in item.states or () if state.failure is not None]
    return "; ".join(printable(f"{each.model}: {each.message}") for each in found)
