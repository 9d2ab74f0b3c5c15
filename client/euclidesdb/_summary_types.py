"""What the client's questions about many items return."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from euclidesdb._attribute_columns import value_column
from euclidesdb._printing import cell, items_text, table
from euclidesdb._result_tables import item_columns
from euclidesdb._tables import Column, Tabular
from euclidesdb._types import Item


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Page(Tabular):
    """Some items of a list, which it yields.

    next_page: the token of the next page; None if this is the last.
    """

    items: tuple[Item, ...]
    next_page: str | None = None

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __repr__(self) -> str:
        return items_text(self._head(), self.items)

    def _repr_html_(self) -> str:
        from euclidesdb._notebook import items_html  # noqa: PLC0415  in notebooks alone

        return items_html(self._head(), self.items)

    def _head(self) -> str:
        last = "the last page" if self.next_page is None else "a page"
        return f"{last} of {len(self):,} items"

    def _table(self) -> list[Column]:
        return item_columns(self.items)


@dataclass(frozen=True, slots=True)
class ValueCounts(Tabular):
    """How many items have each value of a field, the most frequent first.

    Each element of a list counts. other: the counts of all other values together. missing: the
    number of items without the field.
    """

    counts: tuple[tuple[bool | int | float | str, int], ...]
    other: int
    missing: int

    def __str__(self) -> str:
        lines = [f"{count:>12,}  {cell(str(value))}" for value, count in self.counts]
        lines += [f"{self.other:>12,}  (other values)"] * bool(self.other)
        lines += [f"{self.missing:>12,}  (no value)"] * bool(self.missing)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from euclidesdb._notebook import counts_html  # noqa: PLC0415  in notebooks alone

        return counts_html({"": self})

    def _table(self) -> list[Column]:
        return [
            value_column("value", [value for value, _ in self.counts]),
            Column("count", "int", [count for _, count in self.counts]),
        ]


@dataclass(frozen=True, slots=True)
class NumberSummary:
    """The items whose field is a number: how many, and what numbers; None if there are none.

    standard_deviation: of these numbers themselves, not an estimate for others.
    """

    count: int
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    standard_deviation: float | None = None
    median: float | None = None


class CountsByField(dict[str, ValueCounts], Tabular):
    """`ValueCounts` by field."""

    def __repr__(self) -> str:
        return "\n\n".join(f"{cell(field)}:\n{counts}" for field, counts in self.items())

    def _repr_html_(self) -> str:
        from euclidesdb._notebook import counts_html  # noqa: PLC0415  in notebooks alone

        return counts_html(self)

    def _table(self) -> list[Column]:
        rows = [(field, *pair) for field, counts in self.items() for pair in counts.counts]
        return [
            Column("field", "text", [field for field, _, _ in rows]),
            value_column("value", [value for _, value, _ in rows]),
            Column("count", "int", [count for _, _, count in rows]),
        ]


class NumbersByField(dict[str, NumberSummary], Tabular):
    """`NumberSummary` by field."""

    def __repr__(self) -> str:
        names = [each.name for each in fields(NumberSummary)]
        rows = [["", *names]]
        for field, summary in self.items():
            values = [getattr(summary, name) for name in names]
            shown = ["" if value is None else f"{value:.6g}" for value in values]
            rows.append([cell(field), *shown])
        return "\n".join(table(rows)) if self else ""

    def _table(self) -> list[Column]:
        names = [each.name for each in fields(NumberSummary)]
        return [
            Column("field", "text", [*self]),
            *(
                Column(
                    name,
                    "int" if name == "count" else "float",
                    [getattr(summary, name) for summary in self.values()],
                )
                for name in names
            ),
        ]


@dataclass(frozen=True, slots=True, repr=False)
class Summary:
    """Of the items that match a filter. count: their number. counts, numbers: by field."""

    count: int
    counts: CountsByField
    numbers: NumbersByField

    def __repr__(self) -> str:
        parts = [f"{self.count:,} items", repr(self.counts), repr(self.numbers)]
        return "\n\n".join(filter(None, parts))

    def _repr_html_(self) -> str:
        from euclidesdb._notebook import summary_html  # noqa: PLC0415  in notebooks alone

        return summary_html(self)
