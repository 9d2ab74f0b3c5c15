"""The formulas of docs/sizing.md, to be compared with what is measured."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "sizing.md"
ROW = re.compile(r"^\| (?P<what>[^|]+) \| `(?P<formula>[^`|]+)` \|(?: `(?P<place>\w+)` \|)?$")


@dataclass(frozen=True, slots=True)
class Item:
    """What a formula depends on: the names that the page explains."""

    dim: int
    predictions: int = 0
    payload: float = 0
    id: int = 8
    attributes: int = 0
    metadata: int = 0
    fields: int = 0
    strings: int = 0
    index: float = 0
    trees: int = 0
    rows: int = 0
    weights: int = 0


@dataclass(frozen=True, slots=True)
class Formula:
    """A row of a table of the page. place: what it is part of: a folder, or memory."""

    what: str
    text: str
    place: str

    def bytes_for(self, item: Item) -> float:
        """What it predicts for one item."""
        return float(eval(self.text, {"__builtins__": {}}, asdict(item)))  # noqa: S307  # our page


def formulas() -> list[Formula]:
    """All formulas of the page, in its order."""
    matches = map(ROW.match, PAGE.read_text(encoding="utf-8").splitlines())
    return [Formula(row["what"], row["formula"], row["place"] or "") for row in matches if row]


def with_index(item: Item, engine: str) -> Item:
    """The item with the size of its index. engine: as the page writes it: "faiss HNSW32"."""
    (formula,) = (
        each
        for each in formulas()
        if not each.place and engine in each.what.replace("`", "").split(", ")
    )
    return replace(item, index=formula.bytes_for(item))


def predicted(place: str, item: Item, *, vectors: int = 1) -> float:
    """Bytes for one item in a place. vectors: the number of models that embed it."""
    total = 0.0
    for each in formulas():
        if each.place == place:
            repeated = "vector" in each.what or "predictions" in each.what
            total += each.bytes_for(item) * (vectors if repeated else 1)
    return total
