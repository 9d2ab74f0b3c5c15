"""Items that are added again: what is stored of them spares the models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from euclidesdb_server.database.item_changes import repeated_changes
from euclidesdb_server.database.leased import Leased
from euclidesdb_server.database.prepared_adds import digest_of
from euclidesdb_server.database.requests import AddRequest
from euclidesdb_server.database.results import ItemFailure, StoredEmbedding, Written
from euclidesdb_server.database.steps import result_of
from euclidesdb_server.database.writer import Writer
from euclidesdb_server.errors import CorruptRecord, DatabaseError, ShuttingDown
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.store import FeatureStore
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload


class RepeatedAdds:
    """Answers requests that were applied before, from what is stored then. Thread-safe."""

    def __init__(self, store: FeatureStore, writer: Writer) -> None:
        self._store = store
        self._writer = writer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="repeated-adds")
        """Waits for other writes of the items."""

    def close(self) -> None:
        """End its thread; nothing may be answered any more."""
        self._thread.shutdown()

    async def known(
        self, request: AddRequest | DatabaseError, leased: Leased
    ) -> Written | DatabaseError | None:
        """The answer to a request that has been applied; None if it is not known to be."""
        if isinstance(request, DatabaseError):
            return None
        digest = digest_of(request.request_key, "add", request.id)
        if digest is None or digest not in self._store.requests:
            return None
        try:
            names = dict.fromkeys((*request.vectors, *request.models))
            spaces = [leased.get(name).writable_space() for name in names]
        except DatabaseError as error:
            return error
        return await self.answer(request.id, spaces)

    async def answer(self, item_id: str, spaces: Iterable[ModelSpace]) -> Written | DatabaseError:
        """What these spaces have of the item now, which may be nothing."""
        try:
            answer = self._thread.submit(self._answer, item_id, [*spaces])
        except RuntimeError:  # it is closed
            return ShuttingDown("the server is stopping")
        return await result_of(answer)

    def _answer(self, item_id: str, spaces: Iterable[ModelSpace]) -> Written | DatabaseError:
        try:
            with self._writer.lock_items([item_id]):
                return self._stored(item_id, spaces)
        except DatabaseError as error:
            return error

    def _stored(self, item_id: str, spaces: Iterable[ModelSpace]) -> Written:
        record = self._store.item(item_id)
        embeddings, failures = list[StoredEmbedding](), list[ItemFailure]()
        for version in (space.record for space in spaces):
            if record is None:
                break
            number, names = version.number, (version.model, version.fingerprint)
            if (label := record.labels.get(number)) is not None:
                found = self._store.embedding(number, label)
                if found is not None:
                    embeddings.append(StoredEmbedding(*names, found.vector, found.predictions))
            elif (label := record.failed.get(number)) is not None:
                failure = self._store.item_failure(number, label)
                if failure is not None:
                    failures.append(ItemFailure(*names, failure))
        written = Written(embeddings)
        written.failures = tuple(failures)
        (written.change,) = repeated_changes([record])
        return written


def known_outputs(
    store: FeatureStore, item_id: str, payload: Payload, spaces: Sequence[ModelSpace]
) -> dict[ModelSpace, Embedding]:
    """The outputs of models for this very payload that are stored with the item."""
    known: dict[ModelSpace, Embedding] = {}
    record = store.item(item_id)
    if record is None or record.payload_digest != payload.digest:
        return known
    for space in spaces:
        number = space.record.number
        label = record.labels.get(number)
        if label is not None and number not in record.ready_made:
            with suppress(CorruptRecord):  # then it is made again
                if (found := store.embedding(number, label)) is not None:
                    known[space] = found
    return known
