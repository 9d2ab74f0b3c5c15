"""The results of searches: values that `Client.find_similar` returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, SupportsIndex, TypeAlias, overload

import numpy.typing as npt

from euclidesdb._printing import SHOWN_ROWS, cell, listed, short
from euclidesdb._result_tables import fused_columns, neighbor_columns
from euclidesdb._tables import Column, Tabular, TabularTuple
from euclidesdb._types import HoldsArrays, Vector

Payload: TypeAlias = bytes | str | npt.NDArray[Any]
"""A raw item as it was added: the bytes of an image, a text, or a read-only array."""
FieldValue: TypeAlias = bool | int | float | str
"""The value of a field by which results are grouped."""


@dataclass(frozen=True, slots=True)
class LabelProbability:
    """A class that a model predicts. label: its number ("7"), if the names are not known."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True, repr=False)
class Neighbor(HoldsArrays):
    """One item found by a search. Everything but the first two is None if not requested.

    payload: the raw item; None also if it is not kept.
    vector: shape (feature_dim,), as it is stored.
    predictions: shape (prediction_dim,); None also if the vector was ready-made.
    labels: the most probable classes, the most probable first.
    group: the value of the field that results are grouped by; None also if the item has none.
    """

    id: str
    distance: float
    attributes: Mapping[str, Any] | None = None
    metadata: bytes | None = None
    # arrays are not compared: `==` of two arrays is an array
    payload: Payload | None = field(default=None, compare=False)
    vector: Vector | None = field(default=None, compare=False)
    predictions: Vector | None = field(default=None, compare=False)
    labels: tuple[LabelProbability, ...] | None = None
    group: FieldValue | None = None


@dataclass(frozen=True, slots=True)
class FusedNeighbor:
    """An item of the ranking of all models' results.

    score: the sum over models of 1 / (60 + rank), where ranks begin with 1; larger is better.
    attributes, metadata: None if not requested.
    """

    id: str
    score: float
    attributes: Mapping[str, Any] | None = None
    metadata: bytes | None = None


class FusedNeighbors(TabularTuple[FusedNeighbor]):
    """One ranking of the results in several models' spaces, the best first."""

    __slots__ = ()

    def __repr__(self) -> str:
        rows = []
        for rank, each in enumerate(self[:SHOWN_ROWS], 1):
            attributes = [] if each.attributes is None else [short(each.attributes)]
            rows.append([f"{rank}", f"{each.score:.4f}", cell(each.id), *attributes])
        return listed(f"{len(self)} items by the ranks of all models:", rows, len(self))

    def _table(self) -> list[Column]:
        return fused_columns(self)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Neighbors(HoldsArrays, Tabular):
    """The result of a search in one model's space, nearest first: a sequence of `Neighbor`s.

    `neighbors[0]` is the nearest one, `neighbors[:5]` are the nearest five (as `Neighbors`),
    `len(neighbors)` is their number, and iterating yields them in order. The fields hold the same
    by columns. With `diversity`, the order is that in which results were chosen.

    metric: how distance is measured: "l2" (not squared), "cosine" (1 - similarity),
        "inner_product" (negated), "l1", "normalized_l2", ...; smaller is nearer in all of them.
    ids, distances: k of each, where k is top_k, or fewer if the space has fewer items (within
        max_distance, if given).
    attributes, metadata, payloads, vectors, predictions, labels, groups: k of each, as in
        `Neighbor`; None if not requested.
    """

    model: str
    fingerprint: str
    metric: str
    ids: tuple[str, ...]
    distances: Vector
    attributes: tuple[Mapping[str, Any], ...] | None = None
    metadata: tuple[bytes, ...] | None = None
    payloads: tuple[Payload | None, ...] | None = None
    vectors: tuple[Vector | None, ...] | None = None
    predictions: tuple[Vector | None, ...] | None = None
    labels: tuple[tuple[LabelProbability, ...], ...] | None = None
    groups: tuple[FieldValue | None, ...] | None = None

    def __repr__(self) -> str:
        """A table of the nearest ones."""
        head = f"{len(self)} neighbors in {self.model!r} ({cell(self.metric)}), nearest first:"
        rows = []
        for rank, each in enumerate(self[:SHOWN_ROWS], 1):
            row = [f"{rank}", f"{each.distance:.4f}", cell(each.id)]
            if self.labels is not None:
                row.append(cell(each.labels[0].label) if each.labels else "")
            if self.groups is not None:
                row.append("" if each.group is None else cell(str(each.group)))
            if self.attributes is not None:
                row.append(short(each.attributes))
            rows.append(row)
        return listed(head, rows, len(self))

    def _repr_html_(self) -> str:
        from euclidesdb._notebook import neighbors_html  # noqa: PLC0415  in notebooks alone

        return neighbors_html([self])

    def _table(self) -> list[Column]:
        return neighbor_columns([self])

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, position: SupportsIndex) -> Neighbor: ...
    @overload
    def __getitem__(self, position: slice) -> Neighbors: ...
    def __getitem__(self, position: SupportsIndex | slice) -> Neighbor | Neighbors:
        if isinstance(position, slice):
            parts: list[Any] = [
                column if column is None else column[position] for column in self._columns()
            ]
            return Neighbors(self.model, self.fingerprint, self.metric, *parts)
        try:
            place = range(len(self.ids))[position]
        except IndexError as error:
            raise IndexError(f"there are {len(self)} neighbors: none is at {position}") from error
        ids, distances, *others = self._columns()
        return Neighbor(
            ids[place],
            float(distances[place]),
            *[column if column is None else column[place] for column in others],
        )

    def __iter__(self) -> Iterator[Neighbor]:
        nothing = (None,) * len(self.ids)
        ids, distances, *others = self._columns()
        columns = [nothing if column is None else column for column in others]
        yield from map(Neighbor, ids, distances.tolist(), *columns)

    def _columns(self) -> list[Any]:
        """Those of `Neighbor`, in its order."""
        return [getattr(self, name) for name in _COLUMNS]


_COLUMNS: Final = [each.name for each in fields(Neighbors)][3:]


class Results(dict[str, Neighbors], Tabular):
    """The results of a search by model name, in the order of the models.

    fused: one ranking of all of them, the best first, by reciprocal rank fusion; None unless
        requested.
    """

    fused: FusedNeighbors | None = None

    def __repr__(self) -> str:
        parts = [repr(neighbors) for neighbors in self.values()]
        parts += [] if self.fused is None else [repr(self.fused)]
        return "\n\n".join(parts) or "no model was searched"

    def _repr_html_(self) -> str:
        from euclidesdb._notebook import neighbors_html  # noqa: PLC0415  in notebooks alone

        return neighbors_html([*self.values()], self.fused or ())

    def _table(self) -> list[Column]:
        return neighbor_columns([*self.values()])
