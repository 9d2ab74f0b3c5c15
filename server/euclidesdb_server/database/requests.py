"""What callers request of the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import msgspec

from euclidesdb_server.errors import DatabaseError
from euclidesdb_server.values.arrays import Matrix, Vector
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.vector_columns import VectorColumns


class Call(Protocol):
    """The caller's deadline and cancellation."""

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline; None if it set none."""

    def is_active(self) -> bool:
        """Whether the caller still waits: it has not left, and its deadline has not passed."""

    def on_done(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the call ends, for whatever reason; at once if it has ended."""


class NoCaller:
    """A `Call` without a caller: it has no deadline, and is never cancelled."""

    def time_remaining(self) -> float | None:
        """None: there is no deadline."""
        return None

    def is_active(self) -> bool:
        """Always true."""
        return True

    def on_done(self, callback: Callable[[], object]) -> None:
        """It never ends."""


class ModelVector(msgspec.Struct, frozen=True):
    """A ready-made vector, and the fingerprint of the version that made it if it is known."""

    values: Vector
    fingerprint: str | None = None


class ModelVectors(msgspec.Struct, frozen=True):
    """Ready-made vectors, shape (n, dim), and the fingerprint of their version if it is known."""

    values: Matrix
    fingerprint: str | None = None

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class AddRequest:
    """An item to add: a payload for `models`, ready-made vectors by model, or both.

    attributes_json, metadata: None keeps what is stored. include_vectors, include_predictions: what
    the caller wants back.
    """

    id: str
    payload: Payload | None = None
    models: tuple[str, ...] = ()
    vectors: Mapping[str, ModelVector] = field(default_factory=dict)
    attributes_json: str | None = None
    metadata: bytes | None = None
    include_vectors: bool = False
    include_predictions: bool = False


@dataclass(frozen=True, slots=True)
class AddVectorsRequest:
    """Many items with a ready-made vector of one model each.

    fingerprint: of the version that made the vectors, if it is known.
    """

    model: str
    columns: VectorColumns
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class UpdateRequest:
    """A change of an item: new attributes, or changes of some; and new metadata.

    attributes_json: replaces all attributes. remove_attributes: names of some to remove, in nested
    objects with dots; merge_json: changes to merge after that (RFC 7396). metadata: replaces the
    stored bytes. None: no such change.
    """

    id: str
    attributes_json: str | None = None
    merge_json: str | None = None
    remove_attributes: tuple[str, ...] = ()
    metadata: bytes | None = None


Query: TypeAlias = Payload | ModelVector | str
"""What to find similar items for: a raw item, a vector (of exactly one model), or a stored id."""


class Conditions(msgspec.Struct, frozen=True):
    """Which neighbors a search returns, and what with them.

    include_self: a query by id may return the item itself.
    max_distance: no neighbor is farther away than this; None: any distance.
    int32_ids: only items whose id is the decimal form of an int32 are returned, and still top_k of
    them if so many exist.
    """

    top_k: int
    include_self: bool = False
    include_attributes: bool = False
    include_metadata: bool = False
    max_distance: float | None = None
    int32_ids: bool = False

    @property
    def ids_and_distances_only(self) -> bool:
        """Whether the nearest rows answer a query by vector as the index returns them."""
        return (
            self.max_distance is None and not self.include_attributes and not self.include_metadata
        )


class FindRequest(msgspec.Struct, frozen=True):
    """A search with one or many queries in the space of each model.

    queries: an error in place of a query that could not be read is its outcome.
    models: empty: those that fit the queries (`FeatureDatabase.find_similar`).
    """

    queries: Sequence[Query | DatabaseError] | ModelVectors
    models: tuple[str, ...]
    conditions: Conditions
