"""Adder: from requests to add items to embedded, stored ones.

Nothing that it does between two waits takes long, so the steps of a small request can be taken on
an event loop: what may wait for the disk, or for other writes, is done by the thread of
`GroupedWrites`. Several items of one call are written where its step runs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.database.embedder import Embedder, EmbedTask
from euclidesdb_server.database.grouped_writes import GroupedWrites
from euclidesdb_server.database.leased import Leased
from euclidesdb_server.database.model_choice import with_models
from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.database.prepared_adds import PreparedAdd, written_item
from euclidesdb_server.database.repeated_adds import RepeatedAdds, known_outputs
from euclidesdb_server.database.reply_size import check_add_reply
from euclidesdb_server.database.requests import AddRequest, Call
from euclidesdb_server.database.results import Written
from euclidesdb_server.database.steps import result_of
from euclidesdb_server.database.validation import check_add, check_vector
from euclidesdb_server.database.write_batches import EmbeddedItem
from euclidesdb_server.database.writer import Writer
from euclidesdb_server.errors import DatabaseError
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.store import FeatureStore
from euclidesdb_server.values.embedding import Embedding


class Adder:
    """Adds items. Thread-safe. limits: the keys `max_...` of [server]. `close` ends its threads."""

    def __init__(
        self,
        store: FeatureStore,
        models: ModelTable,
        embedder: Embedder,
        writer: Writer,
        limits: ServerConfig,
    ) -> None:
        self._store = store
        self._models = models
        self._embedder = embedder
        self._writer = writer
        self._limits = limits
        self._grouped = GroupedWrites(writer)
        self._repeats = RepeatedAdds(store, writer)

    async def add(
        self, requests: Sequence[AddRequest | DatabaseError], call: Call
    ) -> list[Written | DatabaseError]:
        """As `FeatureDatabase.add_many`."""
        requests = with_models(requests, self._models)
        names = {
            name: None
            for request in requests
            if isinstance(request, AddRequest)
            for name in (*request.models, *request.vectors)
        }
        with self._models.lease(names) as leased:
            check_add_reply(requests, leased, self._limits.max_reply_bytes)
            found = [await self._repeats.known(request, leased) for request in requests]
            new = [each for each, known in zip(requests, found, strict=True) if known is None]
            items = await self._embedded(new, leased, call)
        begun = time.monotonic()
        repeated = set[int]()
        if len(items) == 1 and isinstance(items[0], EmbeddedItem):
            write = await result_of(self._grouped.write(items[0]))
            changes = [write.change]
            repeated.update([0] if write.is_repeated else [])
        else:
            changes = self._writer.write(items, repeated)
        call.note("store", begun, time.monotonic())
        written = iter(
            [
                await self._repeats.answer(item.id, item.spaces)
                if isinstance(item, EmbeddedItem) and position in repeated
                else written_item(item, change)
                for position, (item, change) in enumerate(zip(items, changes, strict=True))
            ]
        )
        return [next(written) if known is None else known for known in found]

    def close(self) -> None:
        """Write what waits, and end the threads; nothing may be added any more."""
        self._grouped.close()
        self._repeats.close()

    async def _embedded(
        self,
        requests: Sequence[AddRequest | DatabaseError],
        leased: Leased,
        call: Call,
    ) -> list[EmbeddedItem | DatabaseError]:
        """The items, their payloads run through the models; or why one cannot be added."""
        prepared = [self._prepared(request, leased) for request in requests]
        tasks = [
            add.task for add in prepared if isinstance(add, PreparedAdd) and add.task is not None
        ]
        outputs = iter(await self._embedder.embed_many(tasks, call))
        return [
            add.embedded(() if add.task is None else next(outputs))
            if isinstance(add, PreparedAdd)
            else add
            for add in prepared
        ]

    def _prepared(
        self, request: AddRequest | DatabaseError, leased: Leased
    ) -> PreparedAdd | DatabaseError:
        if isinstance(request, DatabaseError):
            return request
        try:
            check_add(request, self._limits)
            ready_made: dict[ModelSpace, Embedding] = {}
            for name, vector in request.vectors.items():
                space = leased.get(name).writable_space()
                check_vector(space.record, vector.values, vector.fingerprint, self._models)
                ready_made[space] = Embedding(vector.values, None)
            embedding = [leased.get(name) for name in dict.fromkeys(request.models)]
            spaces = [serving.writable_space() for serving in embedding]
            known: dict[ModelSpace, Embedding] = {}
            task = None
            if request.payload is not None:
                known = known_outputs(self._store, request.id, request.payload, spaces)
                missing = [serving for serving in embedding if serving.space not in known]
                task = EmbedTask(request.payload, missing) if missing else None
            return PreparedAdd(request, ready_made, known, task)
        except DatabaseError as error:
            return error
