"""What the database answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from euclidesdb_server.values.arrays import Vector
from euclidesdb_server.values.metric import Metric
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.status import IndexStatus, ModelState


@dataclass(frozen=True, slots=True)
class Neighbor:
    """One item of an answer. `attributes_json` and `metadata` are None where not asked for."""

    id: str
    distance: float
    attributes_json: str | None = None
    metadata: bytes | None = None


@dataclass(frozen=True, slots=True)
class Neighbors:
    """The answer to one query, nearest first, by columns; iterating gives `Neighbor`s.

    attributes_json, metadata: None where not asked for.
    """

    ids: Sequence[str]
    distances: Sequence[float]
    attributes_json: Sequence[str] | None = None
    metadata: Sequence[bytes] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Neighbor]:
        nothing = (None,) * len(self.ids)
        yield from map(
            Neighbor,
            self.ids,
            self.distances,
            nothing if self.attributes_json is None else self.attributes_json,
            nothing if self.metadata is None else self.metadata,
        )


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """The answers to the queries of one search in one model space.

    found: of each query; an exception where it was refused.
    """

    model: str
    fingerprint: str
    engine: str
    metric: Metric
    found: Sequence[Neighbors | Exception]

    @property
    def neighbors(self) -> Neighbors:
        """The answer to the first query. Raises what it was refused with."""
        first = self.found[0]
        if isinstance(first, Exception):
            raise first
        return first


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What `list models` says of a model."""

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


@dataclass(frozen=True, slots=True)
class StoredEmbedding:
    """A vector of a stored item, with the model version that made it."""

    model: str
    fingerprint: str
    vector: Vector | None
    predictions: Vector | None


@dataclass(frozen=True, slots=True)
class Item:
    """A stored item as a caller sees it; what was not asked for is None."""

    id: str
    attributes_json: str
    metadata: bytes
    embeddings: tuple[StoredEmbedding, ...] = ()
    payload: Payload | None = None
