"""What callers request of the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import msgspec

from euclidesdb_server.columns.ordering import Ordering
from euclidesdb_server.database.search_options import DEFAULT_OPTIONS, SearchOptions
from euclidesdb_server.errors import DatabaseError, DeadlineExceeded
from euclidesdb_server.values.arrays import Matrix, Vector
from euclidesdb_server.values.filters import Field, Filter
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

    def note(self, part: str, begun: float, ended: float) -> None:
        """Note what was done for it, and from when to when, by `time.monotonic`.

        part: "queue", "inference", "search" or "store". Some may overlap.
        """


def check_waiting(call: Call) -> None:
    """Raise DeadlineExceeded if the caller no longer waits."""
    if not call.is_active():
        raise DeadlineExceeded("the caller no longer waits")


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

    def note(self, part: str, begun: float, ended: float) -> None:
        """Nobody wants to know."""


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
    the caller wants back. all_or_nothing: nothing is stored if one of the models fails on the
    payload; otherwise the item is, with that failure. request_key: of this request and its
    repetitions; b"": it has none.
    """

    id: str
    payload: Payload | None = None
    models: tuple[str, ...] = ()
    vectors: Mapping[str, ModelVector] = field(default_factory=dict)
    attributes_json: str | None = None
    metadata: bytes | None = None
    include_vectors: bool = False
    include_predictions: bool = False
    all_or_nothing: bool = False
    request_key: bytes = b""


@dataclass(frozen=True, slots=True)
class AddVectorsRequest:
    """Many items with a ready-made vector of one model each.

    fingerprint: of the version that made the vectors, if it is known. request_key: as that of an
    AddRequest.
    """

    model: str
    columns: VectorColumns
    fingerprint: str | None = None
    request_key: bytes = b""


Example: TypeAlias = Payload | ModelVector | str
"""A raw item, a vector (of exactly one model), or a stored id."""


class Examples(msgspec.Struct, frozen=True):
    """Several items to be like, at least one, and several not to be like (`examples.py`)."""

    positive: tuple[Example, ...]
    negative: tuple[Example, ...] = ()

    def named(self) -> Iterator[tuple[str, Example]]:
        """Each with what error messages call it."""
        for name, examples in (("positive", self.positive), ("negative", self.negative)):
            for position, example in enumerate(examples):
                yield f"examples.{name}[{position}]", example


Query: TypeAlias = Example | Examples
"""What to find similar items for: one example, or several."""


@dataclass(frozen=True, slots=True)
class UpdateRequest:
    """A change of an item: new attributes, or changes of some; and new metadata.

    attributes_json: replaces all attributes. remove_attributes: names of some to remove, in nested
    objects with dots; merge_json: changes to merge after that (RFC 7396). metadata: replaces the
    stored bytes. None: no such change. request_key: as of AddRequest.
    """

    id: str
    attributes_json: str | None = None
    merge_json: str | None = None
    remove_attributes: tuple[str, ...] = ()
    metadata: bytes | None = None
    request_key: bytes = b""


class Conditions(msgspec.Struct, frozen=True):
    """Which neighbors a search returns, and what with them.

    include_self: a query by id, or by examples, may return the items that it is about.
    max_distance: no neighbor is farther away than this; None: any distance.
    int32_ids: only items whose id is the decimal form of an int32 are returned, and still top_k of
    them if so many exist.
    filter: only items that match it are returned, as for int32_ids; None: all.
    """

    top_k: int
    include_self: bool = False
    include_attributes: bool = False
    include_metadata: bool = False
    max_distance: float | None = None
    int32_ids: bool = False
    options: SearchOptions = DEFAULT_OPTIONS
    filter: Filter | None = None

    @property
    def ids_and_distances_only(self) -> bool:
        """Whether the nearest rows answer a query by vector as the index returns them."""
        return (
            self.max_distance is None
            and not self.include_attributes
            and not self.include_metadata
            and self.options is DEFAULT_OPTIONS
            and self.filter is None
        )

    @property
    def returns_attributes(self) -> bool:
        """Whether all or some attributes are returned."""
        return self.include_attributes or bool(self.options.attribute_names)


class FindRequest(msgspec.Struct, frozen=True):
    """A search with one or many queries in the space of each model.

    queries: an error in place of a query that could not be read is its outcome.
    models: empty: those that fit the queries (`FeatureDatabase.find_similar`).
    """

    queries: Sequence[Query | DatabaseError] | ModelVectors
    models: tuple[str, ...]
    conditions: Conditions


@dataclass(frozen=True, slots=True)
class ListRequest:
    """A page of the items that match. page_size: 0: the default. page_token: "": the first page."""

    condition: Filter | None = None
    ordering: Ordering = field(default_factory=Ordering)
    page_size: int = 0
    page_token: str = ""


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """Items that match, drawn at random: `count`, or so many of each value of `stratify_by`.

    seed: None: another one each time.
    """

    count: int
    condition: Filter | None = None
    seed: int | None = None
    stratify_by: Field | None = None


@dataclass(frozen=True, slots=True)
class SummarizeRequest:
    """What to say of the items that match. max_values: for each of `count_by`; 0: the default."""

    condition: Filter | None = None
    count_by: tuple[Field, ...] = ()
    max_values: int = 0
    numbers: tuple[Field, ...] = ()
