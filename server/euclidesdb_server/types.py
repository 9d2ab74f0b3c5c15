"""The values that the parts of the server hand to one another. Knows nothing of any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
        self.size = len(allowed)
        self.bits = np.packbits(allowed, bitorder="little")
        self.bits.setflags(write=False)
        self.count = int(np.count_nonzero(allowed))

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
    """A raw item: the kind of input it is ("image") and its bytes as the client sent them."""

    kind: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ModelVector:
    """A ready-made vector, and the fingerprint of what made it where the caller knows it."""

    values: Vector
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Neighbor:
    """One answer of a search. `attributes_json` and `metadata` are None where not asked for."""

    id: str
    distance: float
    attributes_json: str | None = None
    metadata: bytes | None = None


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """A search's answer in one model space, nearest first."""

    model: str
    fingerprint: str
    engine: str
    metric: Metric
    neighbors: tuple[Neighbor, ...]


class ModelState(StrEnum):
    """Where a model stands."""

    LOADING = "loading"
    READY = "ready"
    RESTARTING = "restarting"
    QUARANTINED = "quarantined"


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
class FindRequest:
    """A search by payload, by ready-made vector (exactly one model) or by stored id.

    accepts: only ids for which this is true are answers, and still top_k where so many exist.
    """

    query: Payload | ModelVector | str
    models: tuple[str, ...]
    top_k: int
    include_self: bool = False
    include_attributes: bool = False
    include_metadata: bool = False
    accepts: Callable[[str], bool] | None = None
