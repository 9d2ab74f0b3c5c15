"""What answers look like in a notebook: tiles if payloads were requested, otherwise tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from euclidesdb._html import MAX_ROWS, MAX_TILES, Document, Tile

if TYPE_CHECKING:
    from euclidesdb._answers import Answer
    from euclidesdb._neighbors import FusedNeighbor, Neighbor, Neighbors
    from euclidesdb._summary_types import Summary, ValueCounts
    from euclidesdb._types import Item

MAX_ANSWERS: Final = 10
MAX_COLUMNS: Final = 10


def neighbors_html(parts: Sequence[Neighbors], fused: Sequence[FusedNeighbor] = ()) -> str:
    """The results of a search, by model, and the ranking of all of them."""
    document = Document(_images(parts))
    for neighbors in parts:
        _write_neighbors(document, neighbors, MAX_TILES)
    if fused:
        document.heading("all models", "best first, by reciprocal rank")
        rows = [
            [f"{rank}", f"{each.score:.4f}", each.id, _json(each.attributes)]
            for rank, each in enumerate(fused[:MAX_ROWS], 1)
        ]
        document.table(["", "score", "id", "attributes"], rows, len(fused))
    return document.html()


def answers_html(answers: Sequence[Answer]) -> str:
    """The answers to many queries."""
    first = answers[:MAX_ANSWERS]
    parts = [part for answer in first if answer.error is None for part in answer.values()]
    tiles = max(1, MAX_TILES // max(1, len(parts)))
    document = Document(sum(min(tiles, _images([part])) for part in parts))
    for query, answer in enumerate(first):
        title = f"query {query}: " * (len(answers) > 1)
        if answer.error is not None:
            document.heading(f"{title}refused", str(answer.error))
            continue
        for neighbors in answer.values():
            _write_neighbors(document, neighbors, tiles, title)
    if len(answers) > len(first):
        document.note(f"and the answers to {len(answers) - len(first):,} more queries")
    return document.html()


def items_html(head: str, items: Sequence[Item]) -> str:
    """Some items."""
    payloads = [_payload(item) for item in items[:MAX_TILES]]
    document = Document(sum(isinstance(payload, bytes) for payload in payloads))
    if head:
        document.heading(head)
    if any(payload is not None for payload in payloads):
        tiles = [
            Tile(payload, item.id, ", ".join(item.models), _pairs(item.attributes))
            for item, payload in zip(items, payloads, strict=False)
        ]
        document.tiles(tiles, len(items))
    elif items:
        names = _names([item.attributes for item in items[:MAX_ROWS]])
        rows = [
            [item.id, ", ".join(item.models), *_values(item.attributes, names)]
            for item in items[:MAX_ROWS]
        ]
        document.table(["id", "models", *names], rows, len(items))
    return document.html()


def counts_html(counts: Mapping[str, ValueCounts]) -> str:
    """Counts by the values of fields."""
    document = Document()
    _write_counts(document, counts)
    return document.html()


def table_html(head: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of other values."""
    document = Document()
    document.heading(head)
    if rows:
        document.table(names, rows[:MAX_ROWS], len(rows))
    return document.html()


def summary_html(summary: Summary) -> str:
    """Counts, and summaries of numbers."""
    document = Document()
    document.heading(f"{summary.count:,} items")
    _write_counts(document, summary.counts)
    if summary.numbers:
        names = ["count", "min", "max", "mean", "standard_deviation", "median"]
        rows = [
            [field, *(_number(getattr(each, name)) for name in names)]
            for field, each in summary.numbers.items()
        ]
        document.table(["field", *(name.replace("_", " ") for name in names)], rows, len(rows))
    return document.html()


def _write_counts(document: Document, counts: Mapping[str, ValueCounts]) -> None:
    for field, each in counts.items():
        if field:
            document.heading(field)
        pairs = [(_text(value), count) for value, count in each.counts]
        pairs += [("(other values)", each.other)] * bool(each.other)
        pairs += [("(no value)", each.missing)] * bool(each.missing)
        document.bars(pairs)


def _write_neighbors(document: Document, neighbors: Neighbors, tiles: int, title: str = "") -> None:
    count = len(neighbors)
    found = "1 neighbor" if count == 1 else f"{count:,} neighbors"
    document.heading(f"{title}{neighbors.model}", f"{found} by {neighbors.metric} distance")
    if neighbors.payloads is not None and count:
        document.tiles([_tile(rank, each) for rank, each in enumerate(neighbors[:tiles], 1)], count)
    elif count:
        first = neighbors[:MAX_ROWS]
        names = _names(first.attributes or ())
        heads = ["", "distance", "id"] + ["label"] * (neighbors.labels is not None)
        heads += ["group"] * (neighbors.groups is not None)
        rows = []
        for rank, each in enumerate(first, 1):
            row = [f"{rank}", f"{each.distance:.4f}", each.id]
            row += [_label(each)] * (neighbors.labels is not None)
            row += [_text(each.group)] * (neighbors.groups is not None)
            rows.append([*row, *_values(each.attributes or {}, names)])
        document.table([*heads, *names], rows, count)


def _tile(rank: int, neighbor: Neighbor) -> Tile:
    notes = [f"{rank}", f"{neighbor.distance:.4f}", _label(neighbor), _text(neighbor.group)]
    note = " · ".join(filter(None, notes))
    return Tile(neighbor.payload, neighbor.id, note, _pairs(neighbor.attributes or {}))


def _images(parts: Sequence[Neighbors]) -> int:
    return sum(isinstance(each, bytes) for part in parts for each in part.payloads or ())


def _payload(item: Item) -> Any:
    return next((each for each in (item.image, item.text, item.tensor) if each is not None), None)


def _label(neighbor: Neighbor) -> str:
    if not neighbor.labels:
        return ""
    label = neighbor.labels[0]
    return f"{label.label} {label.probability:.0%}"


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [*dict.fromkeys(name for attributes in rows for name in attributes)][:MAX_COLUMNS]


def _values(attributes: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [_text(attributes.get(name)) for name in names]


def _pairs(attributes: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, _text(value)) for name, value in attributes.items()]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
