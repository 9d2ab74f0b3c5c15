"""FeatureDatabase: the use cases. Knows neither gRPC nor torch nor LevelDB's bytes.

Promises: when `add` returns, the item is on disk and in the next search; when `remove` returns
it is in none. Calls may come from any number of threads; writes of one item happen one after
the other. Nothing is written, and nothing changes, for an item that is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from contextlib import suppress

from euclidesdb_server.database.embedder import Embedded, Embedder
from euclidesdb_server.database.model_table import Catalog
from euclidesdb_server.database.requests import AddRequest, AddVectorsRequest, Call, FindRequest
from euclidesdb_server.database.results import Item, ModelAnswer, ModelStatus, StoredEmbedding
from euclidesdb_server.database.searcher import Searcher
from euclidesdb_server.database.validation import (
    check_add,
    check_attributes,
    check_columns,
    check_id,
    unusable_ids,
)
from euclidesdb_server.database.write_batches import NewItem, VectorItems
from euclidesdb_server.database.writer import Writer
from euclidesdb_server.errors import CorruptRecord, DatabaseError, UnknownItem
from euclidesdb_server.index import Compactor, ModelSpace
from euclidesdb_server.store import FeatureStore, StoreReader
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload


class FeatureDatabase:
    """The database, put together from parts that its maker owns and closes."""

    def __init__(
        self,
        store: FeatureStore,
        catalog: Catalog,
        embedder: Embedder,
        compactor: Compactor,
        *,
        max_top_k: int,
        keep_payloads: bool,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._embedder = embedder
        self._compactor = compactor
        self._finder = Searcher(store, catalog, embedder, max_top_k=max_top_k)
        self._writer = Writer(store, catalog, compactor, keep_payloads=keep_payloads)

    def add(self, request: AddRequest, call: Call) -> tuple[StoredEmbedding, ...]:
        """Embed and store an item; replaces what the item had of the models named.

        Vectors of other models stay, unless the payload changed: then they are superseded and go.
        Returns what was written. Raises InvalidRequest, UnknownModel, ModelUnavailable,
        ModelFailed, Overloaded, DeadlineExceeded or StorageError, and then wrote nothing.
        """
        (outcome,) = self.add_many([request], call)
        if isinstance(outcome, DatabaseError):
            raise outcome
        return outcome

    def add_many(
        self, requests: Sequence[AddRequest], call: Call
    ) -> list[tuple[StoredEmbedding, ...] | DatabaseError]:
        """Add items, in order, each on its own: of each, what was written, or why nothing was."""
        outcomes: list[tuple[StoredEmbedding, ...] | DatabaseError] = []
        written: list[int] = []
        items: list[NewItem] = []
        for position, prepared in enumerate(self._embedded(requests, call)):
            if isinstance(prepared, DatabaseError):
                outcomes.append(prepared)
                continue
            outcomes.append(_as_stored(prepared))
            written.append(position)
            items.append(prepared)
        for position, failure in zip(written, self._writer.write(items), strict=True):
            if failure is not None:
                outcomes[position] = failure
        return outcomes

    def add_vectors(self, request: AddVectorsRequest) -> list[tuple[int, DatabaseError]]:
        """Add ready-made vectors, in order, each on its own.

        Returns the positions that were refused, ascending, and why. Raises InvalidRequest,
        UnknownModel, ModelUnavailable, VersionMismatch, DimensionMismatch where none can be added.
        """
        check_columns(request)
        space = self._catalog.current_space(request.model)
        refused = self._catalog.unusable(space, request.vectors)
        for position, attributes_json in enumerate(request.attributes_json or ()):
            try:
                check_attributes(attributes_json)
            except DatabaseError as error:
                refused[position] = error
        refused |= unusable_ids(request.ids)
        accepted = [row for row in range(len(request.ids)) if row not in refused]
        items = VectorItems(
            space,
            request.ids,
            request.vectors.values,
            request.attributes_json,
            request.metadata,
        ).only(accepted)
        for position, failure in zip(accepted, self._writer.write_vectors(items), strict=True):
            if failure is not None:
                refused[position] = failure
        return sorted(refused.items())

    def get(self, item_id: str, *, include_arrays: bool, include_payload: bool) -> Item:
        """A stored item; its vectors and predictions, and its payload, where asked for.

        Raises InvalidRequest, UnknownItem.
        """
        check_id(item_id)
        with self._store.snapshot() as reader:
            record = reader.item(item_id)
            if record is None:
                raise UnknownItem(f"no item {item_id!r}")
            embeddings = tuple(
                self._stored_embedding(reader, number, label, include_arrays=include_arrays)
                for number, label in sorted(record.labels.items())
            )
            payload = None
            if include_payload and record.payload_label is not None:
                payload = reader.payload(record.payload_label)
        return Item(item_id, record.attributes_json, record.metadata, embeddings, payload)

    def remove(self, item_id: str) -> None:
        """Remove an item from the store and from every space.

        Raises InvalidRequest, UnknownItem.
        """
        check_id(item_id)
        self._writer.remove(item_id)

    def find_similar(self, request: FindRequest, call: Call) -> tuple[ModelAnswer, ...]:
        """The items nearest to each query in the space of each model, in the models' order.

        A query may be refused on its own: its answer is the exception then. Raises
        InvalidRequest, UnknownModel, ModelUnavailable or DeadlineExceeded where none can be
        answered.
        """
        return self._finder.find(request, call)

    def list_models(self) -> tuple[ModelStatus, ...]:
        """Every model served, and every folder that is not with the reason, by name."""
        return self._catalog.statuses()

    def compact(self) -> None:
        """Have every space compacted in the background; returns at once."""
        for space in self._catalog.spaces():
            self._compactor.request(space)

    def _embedded(
        self, requests: Sequence[AddRequest], call: Call
    ) -> list[NewItem | DatabaseError]:
        """The items, their payloads run through the models; or why one is refused."""
        prepared: list[NewItem | DatabaseError] = []
        to_embed: list[tuple[Payload, Sequence[str]]] = []
        waiting: list[int] = []
        for request in requests:
            try:
                check_add(request)
                given = {
                    space: Embedding(self._catalog.checked(space, vector), None)
                    for name, vector in request.vectors.items()
                    for space in [self._catalog.current_space(name)]
                }
                ready_made, known = frozenset(given), dict[ModelSpace, Embedding]()
                # raises now what would be in vain later
                spaces = {name: self._catalog.current_space(name) for name in request.models}
                if request.payload is not None:
                    known = self._known(request.id, request.payload, spaces.values())
                    given |= known
                    missing = [name for name, space in spaces.items() if space not in given]
                    if missing:
                        to_embed.append((request.payload, missing))
                        waiting.append(len(prepared))
            except DatabaseError as error:
                prepared.append(error)
                continue
            prepared.append(
                NewItem(
                    request.id,
                    given,
                    request.payload,
                    request.attributes_json,
                    request.metadata,
                    ready_made,
                    frozenset(known),
                )
            )
        for position, said in zip(waiting, self._embedder.embed_many(to_embed, call), strict=True):
            prepared[position] = _with_embeddings(prepared[position], said)
        return prepared

    def _known(
        self, item_id: str, payload: Payload, spaces: Iterable[ModelSpace]
    ) -> dict[ModelSpace, Embedding]:
        """What models said of this very payload when the item was added before."""
        with self._store.snapshot() as reader:
            record = reader.item(item_id)
            if record is None or record.payload_digest != payload.digest():
                return {}
            known: dict[ModelSpace, Embedding] = {}
            for space in spaces:
                number = space.record.number
                label = record.labels.get(number)
                if label is not None and number not in record.ready_made:
                    with suppress(CorruptRecord):  # then it is made anew
                        if (found := reader.embedding(number, label)) is not None:
                            known[space] = found
            return known

    def _stored_embedding(
        self, reader: StoreReader, number: int, label: int, *, include_arrays: bool
    ) -> StoredEmbedding:
        space = self._store.space(number)
        found = reader.embedding(number, label) if include_arrays else None
        if found is None:
            return StoredEmbedding(space.model, space.fingerprint, None, None)
        return StoredEmbedding(space.model, space.fingerprint, found.vector, found.predictions)


def _with_embeddings(
    item: NewItem | DatabaseError, said: dict[str, Embedded] | DatabaseError
) -> NewItem | DatabaseError:
    if isinstance(said, DatabaseError) or isinstance(item, DatabaseError):
        return said if isinstance(said, DatabaseError) else item
    found = {each.space: each.embedding for each in said.values()}
    return dataclasses.replace(item, embeddings={**item.embeddings, **found})


def _as_stored(item: NewItem) -> tuple[StoredEmbedding, ...]:
    return tuple(
        StoredEmbedding(
            space.record.model, space.record.fingerprint, found.vector, found.predictions
        )
        for space, found in item.embeddings.items()
    )
