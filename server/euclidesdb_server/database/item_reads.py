"""Stored items as callers see them, with the arrays and the payload that they ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.database.reply_size import ReplyBudget, WantedArrays
from euclidesdb_server.database.requests import Call, check_waiting
from euclidesdb_server.database.results import Item, ItemState, StoredEmbedding
from euclidesdb_server.database.validation import check_id
from euclidesdb_server.errors import (
    CorruptRecord,
    DatabaseError,
    InvalidRequest,
    ReplyTooLarge,
)
from euclidesdb_server.store import FeatureStore, ItemRecord, StoreReader
from euclidesdb_server.values.failure import MAX_MESSAGE_BYTES
from euclidesdb_server.values.status import EmbeddingState

READ_AT_A_TIME: Final = 256
"""Items that are read before it is checked whether the caller still waits."""
ITEM_BYTES: Final = 16
EMBEDDING_BYTES: Final = 32
"""About what an item and an embedding take in a reply in addition to what they hold."""


@dataclass(frozen=True, slots=True)
class Include:
    """What is returned of an item in addition to its attributes and metadata."""

    vectors: bool = False
    predictions: bool = False
    payload: bool = False
    states: bool = False


class ItemReads:
    """Reads items of one moment into one reply. For one thread.

    store: of `reader`, for its spaces. models: tell which version of a model is in service.
    budget: of the reply.
    """

    def __init__(
        self,
        store: FeatureStore,
        models: ModelTable,
        reader: StoreReader,
        include: Include,
        budget: ReplyBudget,
    ) -> None:
        self._store = store
        self._models = models
        self._reader = reader
        self._include = include
        self._budget = budget
        self._wanted = WantedArrays(include.vectors, include.predictions, budget)

    def item(self, item_id: str, record: ItemRecord) -> Item:
        """An item. record: as `reader` has it. Raises StorageError, ReplyTooLarge."""
        embeddings = tuple(
            self._embedding(number, label)
            for number, label in sorted(record.labels.items())
            if not self._store.space_table.is_dropped(number)
        )
        payload = None
        if self._include.payload and record.payload_label is not None:
            payload = self._reader.payload(record.payload_label)
            self._budget.add(len(payload.data) if payload is not None else 0)
        states = self._states(record) if self._include.states else None
        return Item(item_id, record.attributes_json, record.metadata, embeddings, payload, states)

    def items(self, ids: Sequence[str], call: Call) -> list[Item | DatabaseError | None]:
        """Many items, in order; None for one that is not stored, or why it cannot be read.

        Raises ReplyTooLarge, StorageError; DeadlineExceeded if the caller waits no more.
        """
        found: list[Item | DatabaseError | None] = []
        for start in range(0, len(ids), READ_AT_A_TIME):
            check_waiting(call)
            found += map(self._outcome, ids[start : start + READ_AT_A_TIME])
        return found

    def _outcome(self, item_id: str) -> Item | DatabaseError | None:
        try:
            check_id(item_id)
            record = self._reader.item(item_id)
            if record is None:
                return None
            texts = len(item_id) + len(record.attributes_json) + len(record.metadata)
            self._budget.add(ITEM_BYTES + texts + EMBEDDING_BYTES * len(record.labels))
            return self.item(item_id, record)
        except ReplyTooLarge:
            raise
        except (InvalidRequest, CorruptRecord) as error:
            return error

    def _states(self, record: ItemRecord) -> tuple[ItemState, ...]:
        """The states in the models of which the item has features, or on which one failed."""
        numbers = {*record.labels, *record.failed}
        spaces = [
            self._store.space(number)
            for number in numbers
            if not self._store.space_table.is_dropped(number)
        ]
        states = []
        for model in sorted({space.model for space in spaces}):
            versions = {space.number for space in spaces if space.model == model}
            current = self._models.current_version(model)
            if current is None:
                continue
            number = current.number
            failure = None
            if number in record.labels:
                state = EmbeddingState.DONE
            elif (label := record.failed.get(number)) is not None:
                state, failure = EmbeddingState.FAILED, self._reader.item_failure(number, label)
                self._budget.add(MAX_MESSAGE_BYTES)
            elif versions & record.labels.keys():
                state = EmbeddingState.SUPERSEDED
            else:  # an earlier version failed
                continue
            states.append(ItemState(model, current.fingerprint, state, failure))
        return tuple(states)

    def _embedding(self, number: int, label: int) -> StoredEmbedding:
        space = self._store.space(number)
        found = self._reader.embedding(number, label) if self._wanted else None
        return StoredEmbedding(space.model, space.fingerprint, *self._wanted.of(found))
