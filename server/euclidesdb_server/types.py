"""The values that the parts of the server hand to one another. Knows nothing of any of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Vector: TypeAlias = npt.NDArray[np.float32]
"""float32, shape (dim,)."""
Matrix: TypeAlias = npt.NDArray[np.float32]
"""float32, C order, shape (n, dim)."""
Distances: TypeAlias = npt.NDArray[np.float32]
"""float32, shape (queries, k), ascending along each row; smaller is nearer."""
Rows: TypeAlias = npt.NDArray[np.int64]
"""int64, shape (queries, k): positions in the matrix that a segment was built from."""
Labels: TypeAlias = npt.NDArray[np.int64]
"""int64, shape (n,)."""


class MetricKind(StrEnum):
    """How two vectors are compared."""

    L2 = "l2"
    COSINE = "cosine"
    INNER_PRODUCT = "inner_product"
    LP = "lp"


@dataclass(frozen=True, slots=True)
class Metric:
    """The distance of a model space; smaller is nearer, whichever engine computes it.

    - `l2`: the Euclidean distance itself, not its square
    - `cosine`: 1 - cosine similarity, in [0, 2]; a zero vector is at distance 1 from all
    - `inner_product`: the negated inner product
    - `lp`: the p-norm of the difference, p >= 1

    normalized: vectors are scaled to unit length before they are compared (always so for `cosine`).
    """

    kind: MetricKind
    p: float = 2.0
    normalized: bool = False

    @property
    def normalizes(self) -> bool:
        """Whether rows and queries are scaled to unit length before an engine sees them."""
        return self.normalized or self.kind is MetricKind.COSINE

    def __str__(self) -> str:
        name = f"l{self.p:g}" if self.kind is MetricKind.LP else self.kind.value
        return f"normalized_{name}" if self.normalized else name


L2 = Metric(MetricKind.L2)
COSINE = Metric(MetricKind.COSINE)
INNER_PRODUCT = Metric(MetricKind.INNER_PRODUCT)


class RowMask:
    """An immutable set of the rows of a segment that a search may return.

    Kept as bits (bit `row & 7` of byte `row >> 3`), which is what faiss takes.
    """

    __slots__ = ("bits", "count", "size")

    def __init__(self, allowed: npt.NDArray[np.bool_]) -> None:
        bits = np.packbits(allowed, bitorder="little")
        self._set(bits, len(allowed), int(np.count_nonzero(allowed)))

    @classmethod
    def packed(cls, bits: npt.NDArray[np.uint8], size: int, count: int) -> RowMask:
        """The mask of `size` rows whose `bits`, `count` of them set, are given. Takes a copy.

        Bits past the last row must be 0.
        """
        mask = cls.__new__(cls)
        mask._set(bits[: (size + 7) // 8].copy(), size, count)
        return mask

    def _set(self, bits: npt.NDArray[np.uint8], size: int, count: int) -> None:
        bits.setflags(write=False)
        self.bits = bits
        self.size = size
        self.count = count

    def allows(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether each of `rows`, of any shape and all within the mask, may be returned."""
        bits: npt.NDArray[np.uint8] = self.bits[rows >> 3] >> (rows & 7).astype(np.uint8)
        return (bits & 1).view(np.bool_)

    def as_bool(self) -> npt.NDArray[np.bool_]:
        """Bool, shape (size,): True where the row may be returned."""
        return np.unpackbits(self.bits, count=self.size, bitorder="little").view(np.bool_)

    def rows(self) -> npt.NDArray[np.int64]:
        """The allowed rows, ascending."""
        return np.flatnonzero(self.as_bool())


@dataclass(frozen=True, slots=True)
class Embedding:
    """What one model says of one item; float32 arrays."""

    vector: Vector
    predictions: Vector | None


@dataclass(frozen=True, slots=True)
class Payload:
    """A raw item, and the kind of input it is.

    data: of an `image` the bytes as the client sent them, of a `text` its UTF-8, of a `tensor`
    NumPy's .npy format, little-endian and in C order.
    """

    kind: str
    data: bytes

    def digest(self) -> bytes:
        """What no other item shares: 32 bytes."""
        return hashlib.sha256(self.kind.encode() + b"\0" + self.data).digest()


@dataclass(frozen=True, slots=True)
class ModelVector:
    """A ready-made vector, and the fingerprint of what made it where the caller knows it."""

    values: Vector
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class ModelVectors:
    """Ready-made vectors, shape (n, dim), and the fingerprint of what made them where known."""

    values: Matrix
    fingerprint: str | None = None

    def __len__(self) -> int:
        return len(self.values)


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


class ModelState(StrEnum):
    """Where a model stands."""

    LOADING = "loading"
    READY = "ready"
    RESTARTING = "restarting"
    QUARANTINED = "quarantined"
    UNLOADED = "unloaded"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """How the live index of a space stands.

    recall: the share of the true nearest among the answers to the sampled queries; None where
    none was measured yet.
    """

    description: str
    sealed_rows: int
    fresh_rows: int
    building: bool
    recall: float | None
    recall_samples: int


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


class Call(Protocol):
    """The caller's patience: how long it will wait, and word when it has gone."""

    def time_remaining(self) -> float | None:
        """Seconds until the caller gives up; None: it never does."""

    def on_done(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the caller has gone (or has been answered)."""


@dataclass(frozen=True, slots=True)
class AddRequest:
    """An item to add: a payload for `models`, ready-made vectors by model, or both.

    `attributes_json` and `metadata` None: keep what is stored.
    """

    id: str
    payload: Payload | None = None
    models: tuple[str, ...] = ()
    vectors: Mapping[str, ModelVector] = field(default_factory=dict)
    attributes_json: str | None = None
    metadata: bytes | None = None


@dataclass(frozen=True, slots=True)
class AddVectorsRequest:
    """Ready-made vectors of one model to add, one for each id.

    attributes_json, metadata: None: keep what is stored; else one for each id.
    """

    model: str
    ids: Sequence[str]
    vectors: ModelVectors
    attributes_json: Sequence[str] | None = None
    metadata: Sequence[bytes] | None = None


Query: TypeAlias = Payload | ModelVector | str
"""What to find similar items of: a raw item, a vector (of exactly one model), or a stored id."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is asked of each answer.

    max_distance: only items at most so far away; None: any.
    accepts: only ids for which this is true are answers, and still top_k where so many exist.
    """

    top_k: int
    include_self: bool = False
    include_attributes: bool = False
    include_metadata: bool = False
    max_distance: float | None = None
    accepts: Callable[[str], bool] | None = None

    @property
    def demands_nothing_more(self) -> bool:
        """Whether the nearest rows, by id and distance, are all there is to an answer."""
        return (
            self.max_distance is None
            and self.accepts is None
            and not self.include_attributes
            and not self.include_metadata
        )


@dataclass(frozen=True, slots=True)
class FindRequest:
    """A search of one or many queries in the space of each model."""

    queries: Sequence[Query] | ModelVectors
    models: tuple[str, ...]
    conditions: Conditions
