"""What the database returns.

A call with many items or queries returns an outcome for each: a result or a DatabaseError. The
outcome of item i is at position i, from the request to the reply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from types import MappingProxyType
from typing import Final, overload

import msgspec

from euclidesdb_server.columns.summaries import NumberSummary, ValueCounts
from euclidesdb_server.database.top_labels import LabelProbability
from euclidesdb_server.errors import DatabaseError
from euclidesdb_server.values.arrays import Vector
from euclidesdb_server.values.failure import Failure
from euclidesdb_server.values.filters import Scalar
from euclidesdb_server.values.item_change import ItemChange
from euclidesdb_server.values.metric import Metric
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.status import EmbeddingState, IndexStatus, ModelState

NO_ERRORS: Final[Mapping[int, DatabaseError]] = MappingProxyType({})


class NeighborDetails(msgspec.Struct, frozen=True):
    """What was requested of a neighbor besides its attributes and metadata.

    payload: None unless requested and kept. vector: as it is stored. predictions: None also if the
    vector came ready-made. labels: the most probable first. group: the value by which results are
    grouped; None if the item has none.
    """

    payload: Payload | None = None
    vector: Vector | None = None
    predictions: Vector | None = None
    labels: tuple[LabelProbability, ...] = ()
    group: Scalar | None = None


class Neighbor(msgspec.Struct, frozen=True):
    """One item of an answer. Optional fields are None unless requested."""

    id: str
    distance: float
    attributes_json: str | None = None
    metadata: bytes | None = None
    details: NeighborDetails | None = None


class Neighbors(msgspec.Struct, frozen=True):
    """The answer to one query, nearest first, by columns; iterating gives `Neighbor`s.

    attributes_json, metadata, details: None unless requested. skipped: the ids of the results that
    the offset leaves out, if results are fused.
    """

    ids: Sequence[str]
    distances: Sequence[float]
    attributes_json: Sequence[str] | None = None
    metadata: Sequence[bytes] | None = None
    details: Sequence[NeighborDetails] | None = None
    skipped: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Neighbor]:
        missing = (None,) * len(self.ids)
        yield from map(
            Neighbor,
            self.ids,
            self.distances,
            missing if self.attributes_json is None else self.attributes_json,
            missing if self.metadata is None else self.metadata,
            missing if self.details is None else self.details,
        )

    def first(self, count: int) -> Neighbors:
        """The nearest `count` of them, or all."""
        return self if len(self) <= count else self.part(slice(count))

    def part(self, part: slice) -> Neighbors:
        """Those at the positions of a slice."""
        return Neighbors(
            self.ids[part],
            self.distances[part],
            None if self.attributes_json is None else self.attributes_json[part],
            None if self.metadata is None else self.metadata[part],
            None if self.details is None else self.details[part],
        )


class FusedNeighbor(msgspec.Struct, frozen=True):
    """An item of the ranking of all models' results. Optional fields: None unless requested."""

    id: str
    score: float
    attributes_json: str | None = None
    metadata: bytes | None = None


class Answers(Sequence[Neighbors | DatabaseError]):
    """The outcome of each query of a search in one space: its neighbors, or an error. Immutable.

    Stored by columns, as the reply to a batch sends them.

    counts: the number of neighbors of each query; 0 if it failed.
    neighbors: those of the first query, nearest first, then those of the second, and so on.
    errors: by position of the query.
    """

    def __init__(
        self,
        counts: Sequence[int],
        neighbors: Neighbors,
        errors: Mapping[int, DatabaseError] = NO_ERRORS,
    ) -> None:
        self.counts = counts
        self.neighbors = neighbors
        self.errors = errors

    def __len__(self) -> int:
        return len(self.counts)

    @overload
    def __getitem__(self, position: int) -> Neighbors | DatabaseError: ...
    @overload
    def __getitem__(self, position: slice) -> list[Neighbors | DatabaseError]: ...
    def __getitem__(
        self, position: int | slice
    ) -> Neighbors | DatabaseError | list[Neighbors | DatabaseError]:
        if isinstance(position, slice):
            return [self[each] for each in range(len(self))[position]]
        position = range(len(self))[position]
        if (error := self.errors.get(position)) is not None:
            return error
        if len(self.counts) == 1:
            return self.neighbors
        return self.neighbors.part(slice(self._starts[position], self._starts[position + 1]))

    @cached_property
    def _starts(self) -> list[int]:
        return [*accumulate(self.counts, initial=0)]


class ModelAnswer(msgspec.Struct, frozen=True):
    """The answers to the queries of one search in one model space."""

    model: str
    fingerprint: str
    engine: str
    metric: Metric
    answers: Answers

    @property
    def neighbors(self) -> Neighbors:
        """The answer to the first query. Raises the error if it failed."""
        answers = self.answers
        if len(answers.counts) == 1 and not answers.errors:
            return answers.neighbors
        first = answers[0]
        if isinstance(first, DatabaseError):
            raise first
        return first


class ModelAnswers(tuple[ModelAnswer, ...]):
    """The answers of a search, one for each model.

    fused: the results of all models in one ranking, the best first; empty unless requested.
    """

    fused: tuple[FusedNeighbor, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """The state of a model, and of its space, as `list_models` shows it.

    adopted: the space began with vectors of EuclidesDB (C++). items_run, batches_run: what its
    program ran since it was loaded. disk_bytes: about how much the space takes on disk.
    """

    name: str
    state: ModelState
    reason: str = ""
    input: str = ""
    feature_dim: int = 0
    prediction_dim: int = 0
    fingerprint: str = ""
    engine: str = ""
    metric: str = ""
    items: int = 0
    labels: tuple[str, ...] = ()
    adopted: bool = False
    index: IndexStatus | None = None
    items_run: int = 0
    batches_run: int = 0
    disk_bytes: int = 0


@dataclass(frozen=True, slots=True)
class StoredEmbedding:
    """A vector of a stored item, with the model version that made it.

    vector, predictions: None unless requested; predictions also if the vector came ready-made.
    """

    model: str
    fingerprint: str
    vector: Vector | None
    predictions: Vector | None


@dataclass(frozen=True, slots=True)
class ItemFailure:
    """A model version that failed on an item."""

    model: str
    fingerprint: str
    failure: Failure


class Written(tuple[StoredEmbedding, ...]):
    """What an add has stored of an item: an embedding of each model that made one.

    failures: of the other models that it named.
    """

    failures: tuple[ItemFailure, ...] = ()
    change: ItemChange = ItemChange.ADDED


@dataclass(frozen=True, slots=True)
class ItemState:
    """The state of an item in one model. fingerprint: of the version that the state is of: the one
    in service. failure: None unless it failed.
    """

    model: str
    fingerprint: str
    state: EmbeddingState
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A stored item as a caller sees it. `payload` is None unless requested and kept.

    states: of the models that have anything of the item, by name; None unless requested.
    """

    id: str
    attributes_json: str
    metadata: bytes
    embeddings: tuple[StoredEmbedding, ...] = ()
    payload: Payload | None = None
    states: tuple[ItemState, ...] | None = None


@dataclass(frozen=True, slots=True)
class ItemPage:
    """Some items of a list. next_token: of the next page; "" if this is the last one."""

    ids: Sequence[str]
    next_token: str


@dataclass(frozen=True, slots=True)
class Summary:
    """Of the items that match a filter. count: their number."""

    count: int
    counts: Sequence[ValueCounts]
    numbers: Sequence[NumberSummary]


@dataclass(frozen=True, slots=True)
class Removal:
    """What became of the removal of many items.

    removed: the number of items removed, or that would be. missing: the positions of ids that are
    not stored, ascending. errors: by position, why others were not removed.
    """

    removed: int
    missing: tuple[int, ...] = ()
    errors: Mapping[int, DatabaseError] = field(default_factory=dict)
