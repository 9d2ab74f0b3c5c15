"""What callers ask of the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from euclidesdb_server.values.arrays import Matrix, Vector
from euclidesdb_server.values.payload import Payload


class Call(Protocol):
    """The caller's patience: how long it will wait, and word when it has gone."""

    def time_remaining(self) -> float | None:
        """Seconds until the caller gives up; None: it never does."""

    def on_done(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the caller has gone (or has been answered)."""


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
    def ids_and_distances_only(self) -> bool:
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
