"""What the client's questions about many items return."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from euclidesdb._types import Item


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """Some items of a list, which it yields.

    next_page: the token of the next page; None if this is the last.
    """

    items: tuple[Item, ...]
    next_page: str | None = None

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)


@dataclass(frozen=True, slots=True)
class ValueCounts:
    """How many items have each value of a field, the most frequent first.

    Each element of a list counts. other: the counts of all other values together. missing: the
    number of items without the field.
    """

    counts: tuple[tuple[bool | int | float | str, int], ...]
    other: int
    missing: int

    def __str__(self) -> str:
        lines = [f"{count:>12,}  {value}" for value, count in self.counts]
        lines += [f"{self.other:>12,}  (other values)"] * bool(self.other)
        lines += [f"{self.missing:>12,}  (no value)"] * bool(self.missing)
        return "\n".join(lines)


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


@dataclass(frozen=True, slots=True)
class Summary:
    """Of the items that match a filter. count: their number. counts, numbers: by field."""

    count: int
    counts: Mapping[str, ValueCounts]
    numbers: Mapping[str, NumberSummary]
