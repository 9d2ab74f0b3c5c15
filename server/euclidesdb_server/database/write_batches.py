"""Items that are embedded and ready to be written, one by one or by columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from euclidesdb_server.index import ModelSpace
from euclidesdb_server.store import NewItems
from euclidesdb_server.values.arrays import Matrix
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload

MAX_ITEMS: Final = 1024
MAX_BYTES: Final = 4 << 20
"""Of one batch; a larger item goes alone."""


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item to write, embedded.

    attributes_json, metadata: None: keep what is stored. ready_made: the spaces whose vector did
    not come of the payload.
    """

    id: str
    embeddings: Mapping[ModelSpace, Embedding]
    payload: Payload | None = None
    attributes_json: str | None = None
    metadata: bytes | None = None
    ready_made: frozenset[ModelSpace] = frozenset()
    known: frozenset[ModelSpace] = frozenset()
    """The spaces whose vector was found in the store, as what the payload gives."""

    def size(self) -> int:
        """About how many bytes are written."""
        vectors = sum(found.vector.nbytes for found in self.embeddings.values())
        return vectors + (0 if self.payload is None else len(self.payload.data))


@dataclass(frozen=True, slots=True)
class VectorItems:
    """Ready-made vectors to write, by columns; None: keep what is stored.

    vectors: float32, shape (n, feature_dim).
    """

    space: ModelSpace
    ids: Sequence[str]
    vectors: Matrix
    attributes_json: Sequence[str] | None = None
    metadata: Sequence[bytes] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice) -> VectorItems:
        return VectorItems(
            self.space,
            self.ids[rows],
            self.vectors[rows],
            None if self.attributes_json is None else self.attributes_json[rows],
            None if self.metadata is None else self.metadata[rows],
        )

    def item(self, row: int) -> NewItem:
        """One of them."""
        return NewItem(
            self.ids[row],
            {self.space: Embedding(self.vectors[row], None)},
            None,
            None if self.attributes_json is None else self.attributes_json[row],
            None if self.metadata is None else self.metadata[row],
            frozenset([self.space]),
        )

    def only(self, rows: Sequence[int]) -> VectorItems:
        """Some of them."""
        return self if len(rows) == len(self.ids) else self._taken(rows)

    def as_new(self, labels: Sequence[int]) -> NewItems:
        """Of ids that are not stored yet."""
        return NewItems(
            self.space.record.number,
            labels,
            self.ids,
            self.vectors,
            self.attributes_json,
            self.metadata,
        )

    def batches(self) -> Iterator[VectorItems]:
        """In order; no id occurs twice in one."""
        most = max(1, min(MAX_ITEMS, MAX_BYTES // max(1, self.vectors[:1].nbytes)))
        if len(set(self.ids)) == len(self.ids):
            for start in range(0, len(self.ids), most):
                yield self[start : start + most]
            return
        start, seen = 0, set[str]()
        for row, item_id in enumerate(self.ids):
            if row - start == most or item_id in seen:
                yield self[start:row]
                start, seen = row, set()
            seen.add(item_id)
        if seen:
            yield self[start:]

    def _taken(self, rows: Sequence[int]) -> VectorItems:
        return VectorItems(
            self.space,
            [self.ids[row] for row in rows],
            self.vectors[list(rows)],
            None if self.attributes_json is None else [self.attributes_json[row] for row in rows],
            None if self.metadata is None else [self.metadata[row] for row in rows],
        )


def batches_of(items: Sequence[NewItem]) -> Iterator[Sequence[NewItem]]:
    """In order, in batches of bounded size; no id occurs twice in one."""
    batch: list[NewItem] = []
    ids: set[str] = set()
    size = 0
    for item in items:
        more = item.size()
        if batch and (item.id in ids or len(batch) == MAX_ITEMS or size + more > MAX_BYTES):
            yield batch
            batch, ids, size = [], set(), 0
        batch.append(item)
        ids.add(item.id)
        size += more
    if batch:
        yield batch
