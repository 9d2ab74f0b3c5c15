"""The values that a `Client` takes and returns.

Arrays in replies are read-only, also in copies, and float32 except for an item's tensor. Every
value can be copied and pickled, if what the caller put into it can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from euclidesdb._checks import ItemId
from euclidesdb._images import Image
from euclidesdb._printing import dataclass_text
from euclidesdb._states import EmbeddingFailure, ItemState

Vector: TypeAlias = npt.NDArray[np.float32]
"""float32, shape (dim,), read-only."""


class HoldsArrays:
    """A dataclass whose arrays are read-only, which NumPy's own copies and pickles are not."""

    __slots__ = ()

    def __repr__(self) -> str:
        return dataclass_text(self)

    def __reduce__(self) -> tuple[Any, ...]:
        values = [getattr(self, field.name) for field in fields(self)]  # type: ignore[arg-type]
        return _with_read_only_arrays, (type(self), *values)


def _with_read_only_arrays(kind: Any, *values: Any) -> Any:
    for value in values:
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, np.ndarray):
                part.setflags(write=False)
    return kind(*values)


# Values that hold arrays compare by identity: `==` of two arrays is an array, not a bool.


@dataclass(frozen=True, slots=True, eq=False)
class ModelVector:
    """A vector made outside the database.

    values: anything that NumPy converts to an array of numbers of shape (feature_dim,).
    fingerprint: the model version that made it, if known. If the server serves another version,
        it refuses the vector (VersionMismatch): vectors of two versions are not comparable.
    """

    values: npt.ArrayLike
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class NewItem:
    """An item for `Client.add_many`; the fields are the arguments of `Client.add`.

    At most one of `image`, `text` and `tensor`. request_key: as in `Client.add`, of this item.
    """

    id: ItemId
    image: Image | None = None
    models: Sequence[str] = ()
    vectors: Mapping[str, npt.ArrayLike | ModelVector] | None = None
    attributes: Mapping[str, Any] | None = None
    metadata: bytes | None = None
    text: str | None = None
    tensor: npt.ArrayLike | None = None
    request_key: bytes | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Embedding(HoldsArrays):
    """One model's outputs for one item.

    fingerprint: the model version; vectors of different versions are not comparable.
    vector: shape (feature_dim,); None if not requested.
    predictions: shape (prediction_dim,); None if not requested, or if the vector was ready-made.
    """

    model: str
    fingerprint: str
    vector: Vector | None = None
    predictions: Vector | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """An item of `Client.add_stream` that is on disk and in the next search.

    position: its position among those given, from 0.
    embeddings: one per model written; their arrays are None unless requested.
    failures: the other models that the item names: each has failed on it.
    change: "added": it is new; "replaced": it was stored already, and has been changed;
        "unchanged": it was stored already as it was given. None if an older server does not tell.
    """

    position: int
    id: str
    embeddings: tuple[Embedding, ...] = ()
    failures: tuple[EmbeddingFailure, ...] = ()
    change: Literal["added", "replaced", "unchanged"] | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Item(HoldsArrays):
    """A stored item.

    embeddings: one per model version that has a vector of the item.
    image, text, tensor: the raw item as it was added: the bytes of an image, a text, or a
        read-only array with its dtype and shape. The others are None; all are None if the raw
        item was not requested or is not kept.
    """

    id: str
    attributes: Mapping[str, Any]
    metadata: bytes
    embeddings: tuple[Embedding, ...] = ()
    image: bytes | None = None
    text: str | None = None
    tensor: npt.NDArray[Any] | None = None
    states: tuple[ItemState, ...] | None = None

    def _repr_html_(self) -> str:
        from euclidesdb._notebook import items_html  # noqa: PLC0415  in notebooks alone

        return items_html("", [self])

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models that have a vector of the item, each once."""
        return tuple(dict.fromkeys(embedding.model for embedding in self.embeddings))


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """The live index of a model's space.

    description: what is built ("HNSW32", "Flat (100 rows are too few for IVF256)").
    indexed_rows: rows in the index. unindexed_rows: the others, which are searched exactly.
    segments: how many parts of the index a search asks. building: whether one is being built.
    verifying: whether vectors on disk are still being compared with their checksums.
    failure: why the index could not be built the last time, or ""; it is tried again, and until
        then rows without an index are searched exactly.
    recall: the share of the true nearest neighbors in the results of sampled queries, from 0 to 1;
        None if none has been sampled yet. recall_samples: the number of sampled queries.
    """

    description: str
    indexed_rows: int
    unindexed_rows: int
    segments: int
    building: bool
    verifying: bool
    failure: str
    recall: float | None
    recall_samples: int


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that the server has, or had.

    state: "ready", "loading", "restarting" or "quarantined"; "unloaded": not served (any more);
        "superseded": the vectors of a former version, whose `name` is "model@fingerprint". The
        vectors of an unloaded or superseded model can still be searched, by vector and by id.
    reason: why it is not ready, or a warning about one that is.
    input: the kind of item it takes: "image", "text", "tensor", or "vector" if it takes only
        ready-made vectors.
    items: the number of items with a vector of this version.
    labels: class names of the predictions, if known.
    adopted: whether its space began with vectors imported from a database of EuclidesDB (C++).
    index: the index of its space; None if it has no space, or if that is a former version's and has
        not been searched since the server started. Its `engine` and `metric` are empty then.
    items_run, batches_run: the number of items that its program has run since it was loaded, and
        the number of batches they were in.
    disk_bytes: about how many bytes its vectors and indexes take on disk.
    """

    name: str
    state: str
    reason: str
    input: str
    feature_dim: int
    prediction_dim: int
    fingerprint: str
    engine: str
    metric: str
    items: int
    labels: tuple[str, ...]
    adopted: bool
    index: IndexInfo | None = None
    items_run: int = 0
    batches_run: int = 0
    disk_bytes: int = 0
