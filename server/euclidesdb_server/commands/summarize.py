"""`euclidesdb summarize`: count items by the values of fields, and summarize numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from euclidesdb_server.commands.connection import connected
from euclidesdb_server.commands.parameters import address_option, json_option, where_option
from euclidesdb_server.commands.printing import counted, print_json, print_table, printable, shown

if TYPE_CHECKING:
    import euclidesdb

BAR = 30
"""Characters of the bar of the most frequent value."""


@click.command()
@click.option(
    "--by",
    "count_by",
    multiple=True,
    metavar="FIELD",
    help='Count by the values of this field: "color", "digits.label". May be repeated.',
)
@click.option(
    "--numbers",
    multiple=True,
    metavar="FIELD",
    help="Summarize the numbers in this field. May be repeated.",
)
@click.option(
    "--max-values",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="List so many of the values, the most frequent.",
)
@where_option
@address_option
@json_option
def summarize(
    *,
    count_by: Sequence[str],
    numbers: Sequence[str],
    max_values: int,
    where: str | None,
    address: str,
    as_json: bool,
) -> int:
    """Count the items, all or those that match a filter, by what they have in fields."""
    with connected(address) as client:
        summary = client.summarize(where, count_by=count_by, numbers=numbers, max_values=max_values)
    if as_json:
        print_json(_summary_object(summary))
        return 0
    print(counted(summary.count))
    for field, counts in summary.counts.items():
        print()
        _print_counts(field, counts)
    if summary.numbers:
        print()
        _print_numbers(summary)
    return 0


def _summary_object(summary: euclidesdb.Summary) -> dict[str, Any]:
    return {
        "count": summary.count,
        "counts": {
            field: {
                "values": [{"value": value, "count": count} for value, count in counts.counts],
                "other": counts.other,
                "missing": counts.missing,
            }
            for field, counts in summary.counts.items()
        },
        "numbers": {field: asdict(each) for field, each in summary.numbers.items()},
    }


def _print_counts(field: str, counts: euclidesdb.ValueCounts) -> None:
    rows = [(shown(value), count) for value, count in counts.counts]
    rows += [("(other values)", counts.other)] * bool(counts.other)
    rows += [("(no value)", counts.missing)] * bool(counts.missing)
    largest = max((count for _, count in rows), default=0)
    print_table(
        [printable(field), "items", ""],
        [
            [value, f"{count:,}", "█" * round(BAR * count / max(1, largest))]
            for value, count in rows
        ],
        right=("items",),
    )


def _print_numbers(summary: euclidesdb.Summary) -> None:
    heads = ["min", "median", "mean", "max", "standard deviation"]
    rows = []
    for field, each in summary.numbers.items():
        values = (each.min, each.median, each.mean, each.max, each.standard_deviation)
        shown_values = ["" if value is None else f"{value:.6g}" for value in values]
        rows.append([printable(field), f"{each.count:,}", *shown_values])
    print_table(["field", "items", *heads], rows, right=("items", *heads))
