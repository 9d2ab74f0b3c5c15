"""FeatureDatabase: the use cases. Knows neither gRPC nor torch nor LevelDB's bytes.

Promises: when `add` returns, the item is on disk and in the next search; when `remove` returns
it is in none. Calls may come from any number of threads; writes of one item happen one after
the other. Nothing is written, and nothing changes, for a call that raises.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

from euclidesdb_server.catalog import Catalog
from euclidesdb_server.checks import check_add, check_id
from euclidesdb_server.errors import UnknownItem
from euclidesdb_server.finding import Finder
from euclidesdb_server.locks import ItemLocks
from euclidesdb_server.spaces import Compactor, ModelSpace
from euclidesdb_server.store import FeatureStore, ItemRecord, ItemWrite, StoreReader
from euclidesdb_server.types import (
    AddRequest,
    Call,
    Embedding,
    FindRequest,
    Item,
    ModelAnswer,
    ModelStatus,
    Payload,
    StoredEmbedding,
)


class FeatureDatabase:
    """The database, put together from parts that its maker owns and closes."""

    def __init__(
        self,
        store: FeatureStore,
        catalog: Catalog,
        compactor: Compactor,
        *,
        max_top_k: int,
        keep_payloads: bool,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._compactor = compactor
        self._finder = Finder(store, catalog, max_top_k=max_top_k)
        self._keep_payloads = keep_payloads
        self._locks = ItemLocks()

    def add(self, request: AddRequest, call: Call) -> tuple[StoredEmbedding, ...]:
        """Embed and store an item; replaces what the item had of the models named.

        Vectors of other models stay, unless the payload changed: then they are stale and go.
        Returns what was written. Raises InvalidRequest, UnknownModel, ModelUnavailable,
        ModelFailed, Overloaded, DeadlineExceeded or StorageError, and then wrote nothing.
        """
        check_add(request)
        embeddings = {
            self._catalog.space(name): Embedding(self._catalog.checked(name, vector), None)
            for name, vector in request.vectors.items()
        }
        if request.payload is not None:
            said = self._catalog.embed(request.payload, request.models, call)
            embeddings |= {self._catalog.space(name): found for name, found in said.items()}
        self._write(request, embeddings)
        return tuple(
            StoredEmbedding(
                space.record.model, space.record.fingerprint, found.vector, found.predictions
            )
            for space, found in embeddings.items()
        )

    def get(self, item_id: str, *, include_arrays: bool, include_payload: bool) -> Item:
        """A stored item; its vectors and predictions, and its payload, where asked for.

        Raises InvalidRequest, UnknownItem.
        """
        check_id(item_id)
        with self._store.snapshot() as reader:
            record = _known(item_id, reader.item(item_id))
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
        with self._locks.of(item_id):
            record = _known(item_id, self._store.item(item_id))
            self._store.remove(item_id, record)
            self._bury(record.labels)

    def find_similar(self, request: FindRequest, call: Call) -> tuple[ModelAnswer, ...]:
        """The items nearest to the query in the space of each model, in the models' order.

        Raises InvalidRequest, UnknownModel, UnknownItem, ModelUnavailable, ModelFailed,
        Overloaded or DeadlineExceeded.
        """
        return self._finder.find(request, call)

    def list_models(self) -> tuple[ModelStatus, ...]:
        """Every model served, and every folder that is not with the reason, by name."""
        return self._catalog.statuses()

    def compact(self) -> None:
        """Have every space compacted in the background; returns at once."""
        for space in self._catalog.spaces():
            self._compactor.request(space)

    def _write(self, request: AddRequest, embeddings: Mapping[ModelSpace, Embedding]) -> None:
        by_number = {space.record.number: found for space, found in embeddings.items()}
        with self._locks.of(request.id):
            before = self._store.item(request.id)
            with self._store.labels.take() as label:
                after = self._record(request, before or ItemRecord(), label, by_number)
                payload = request.payload if after.payload_label == label else None
                self._store.write(ItemWrite(request.id, label, before, after, by_number, payload))
                # it is on disk: what follows only makes it visible, and does not fail
                replaced = {} if before is None else dict(before.labels)
                for space, found in embeddings.items():
                    space.publish(
                        label, found.vector, replaces=replaced.pop(space.record.number, None)
                    )
                    self._compactor.consider(space)
                self._bury(
                    {number: old for number, old in replaced.items() if number not in after.labels}
                )

    def _record(
        self, request: AddRequest, before: ItemRecord, label: int, written: Collection[int]
    ) -> ItemRecord:
        """The item's record after the write. written: the spaces that get a vector."""
        labels = dict(before.labels)
        payload_label, digest = before.payload_label, before.payload_digest
        if request.payload is not None:
            digest = _digest(request.payload)
            if before.payload_digest and digest != before.payload_digest:
                # what other models said was of another payload
                labels, payload_label = {}, None
            if self._keep_payloads and payload_label is None:
                payload_label = label
        return ItemRecord(
            before.attributes_json if request.attributes_json is None else request.attributes_json,
            before.metadata if request.metadata is None else request.metadata,
            labels | dict.fromkeys(written, label),
            payload_label,
            digest,
        )

    def _bury(self, labels: Mapping[int, int]) -> None:
        for number, label in labels.items():
            if space := self._catalog.numbered(number):
                space.bury(label)
                self._compactor.consider(space)

    def _stored_embedding(
        self, reader: StoreReader, number: int, label: int, *, include_arrays: bool
    ) -> StoredEmbedding:
        space = self._store.space(number)
        found = reader.embedding(number, label) if include_arrays else None
        if found is None:
            return StoredEmbedding(space.model, space.fingerprint, None, None)
        return StoredEmbedding(space.model, space.fingerprint, found.vector, found.predictions)


def _known(item_id: str, record: ItemRecord | None) -> ItemRecord:
    if record is None:
        raise UnknownItem(f"no item {item_id!r}")
    return record


def _digest(payload: Payload) -> bytes:
    return hashlib.sha256(payload.kind.encode() + b"\0" + payload.data).digest()
