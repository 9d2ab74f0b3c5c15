"""The columns of neighbors and of items, for `to_arrow`, `to_pandas` and `to_polars`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from euclidesdb._attribute_columns import attribute_columns, value_column
from euclidesdb._tables import Column, Kind

if TYPE_CHECKING:
    from euclidesdb._neighbors import FusedNeighbor, Neighbors
    from euclidesdb._types import Embedding, Item


def neighbor_columns(
    parts: Sequence[Neighbors], queries: Sequence[int] | None = None
) -> list[Column]:
    """One row for each neighbor. queries: the position of the query of each part, as a column."""
    counts = [*map(len, parts)]
    columns: list[Column] = []
    if queries is not None:
        columns.append(Column("query", "int", _repeated(queries, counts)))
    columns += [
        Column("model", "text", _repeated([part.model for part in parts], counts)),
        Column("rank", "int", [rank for count in counts for rank in range(1, count + 1)]),
        Column("id", "text", [each for part in parts for each in part.ids]),
        Column("distance", "float32", [each for part in parts for each in part.distances.tolist()]),
    ]
    groups = _joined(parts, "groups")
    if groups is not None:
        columns.append(value_column("group", groups))
    labels = _joined(parts, "labels")
    if labels is not None:
        columns += _label_columns(labels)
    contents = _content_columns(_joined(parts, "metadata"), _joined(parts, "payloads"))
    for name, field in (("vector", "vectors"), ("predictions", "predictions")):
        values = _joined(parts, field)
        if values is not None:
            contents.append(Column(name, "vector", values))
    return _with_attributes(columns, _joined(parts, "attributes"), contents)


def fused_columns(fused: Sequence[FusedNeighbor]) -> list[Column]:
    """One row for each item of a ranking of several models' results."""
    columns = [
        Column("rank", "int", [*range(1, len(fused) + 1)]),
        Column("id", "text", [each.id for each in fused]),
        Column("score", "float32", [each.score for each in fused]),
    ]
    metadata = [each.metadata for each in fused]
    contents = _content_columns(metadata if any(each is not None for each in metadata) else None)
    return _with_attributes(columns, [each.attributes for each in fused], contents)


def item_columns(items: Sequence[Item]) -> list[Column]:
    """One row for each item. A model that has two versions there has columns of each."""
    columns = [
        Column("id", "text", [item.id for item in items]),
        Column("models", "texts", [list(item.models) for item in items]),
    ]
    payloads = [_first(item.image, item.text, item.tensor) for item in items]
    contents = _content_columns([item.metadata for item in items], payloads)
    versions = dict.fromkeys(
        (each.model, each.fingerprint) for item in items for each in item.embeddings
    )
    models = Counter(model for model, _ in versions)
    for field in ("vector", "predictions"):
        for model, fingerprint in versions:
            values = [_output(item.embeddings, model, fingerprint, field) for item in items]
            if any(value is not None for value in values):
                version = f"@{fingerprint}" if models[model] > 1 else ""
                contents.append(Column(f"{field}:{model}{version}", "vector", values))
    return _with_attributes(columns, [item.attributes for item in items], contents)


def _with_attributes(
    before: list[Column], attributes: Sequence[Any] | None, after: list[Column]
) -> list[Column]:
    if attributes is None:
        return before + after
    taken = {column.name for column in before + after}
    return before + attribute_columns(attributes, taken) + after


def _content_columns(
    metadata: Sequence[Any] | None, payloads: Sequence[Any] | None = None
) -> list[Column]:
    columns = [] if metadata is None else [Column("metadata", "bytes", metadata)]
    return columns if payloads is None else columns + _payload_columns(payloads)


def _label_columns(labels: Sequence[Any]) -> list[Column]:
    """The most probable class and its probability, then all that were requested."""
    first = [each[0] if each else None for each in labels]
    return [
        Column("label", "text", [each and each.label for each in first]),
        Column("confidence", "float32", [each and each.probability for each in first]),
        Column(
            "labels",
            "labels",
            [
                [{"label": each.label, "probability": each.probability} for each in row]
                for row in labels
            ],
        ),
    ]


def _payload_columns(payloads: Sequence[Any]) -> list[Column]:
    """`image`, `text`, and `tensor` with `tensor_shape`: those that there are."""
    found: list[tuple[str, Kind, type, Callable[[Any], Any]]] = [
        ("image", "bytes", bytes, lambda value: value),
        ("text", "text", str, lambda value: value),
        ("tensor", "vector", np.ndarray, lambda value: value.reshape(-1)),
        ("tensor_shape", "any", np.ndarray, lambda value: list(value.shape)),
    ]
    return [
        Column(
            name,
            kind,
            [convert(each) if isinstance(each, wanted) else None for each in payloads],
        )
        for name, kind, wanted, convert in found
        if any(isinstance(each, wanted) for each in payloads)
    ]


def _output(
    embeddings: Iterable[Embedding], model: str, fingerprint: str, field: str
) -> np.ndarray[Any, Any] | None:
    for each in embeddings:
        if (each.model, each.fingerprint) == (model, fingerprint):
            value: np.ndarray[Any, Any] | None = getattr(each, field)
            return value
    return None


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _repeated(values: Sequence[Any], counts: Sequence[int]) -> list[Any]:
    return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]


def _joined(parts: Sequence[Neighbors], field: str) -> list[Any] | None:
    """A column of all parts; None if it was not requested."""
    values = [getattr(part, field) for part in parts]
    if all(each is None for each in values):
        return None
    filled = (
        (None,) * len(part) if each is None else each
        for part, each in zip(parts, values, strict=True)
    )
    return [*chain.from_iterable(filled)]
