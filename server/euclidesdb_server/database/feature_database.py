"""FeatureDatabase: the use cases, each a method.

Calls may come from any number of threads; writes of one item happen one after the other. Nothing
is written, and nothing changes, for an item that is refused. What waits for models is a coroutine
(`steps`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from euclidesdb_server.columns import ItemTable
from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.database.adder import Adder
from euclidesdb_server.database.embedder import Embedder
from euclidesdb_server.database.embedding_jobs.step import JobSteps
from euclidesdb_server.database.item_exports import ItemExports
from euclidesdb_server.database.item_import import ItemImports
from euclidesdb_server.database.item_reads import Include, ItemReads
from euclidesdb_server.database.item_removals import remove_many, remove_unchanged, would_remove
from euclidesdb_server.database.item_updates import check_update, updated
from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.database.prepared_adds import digest_of
from euclidesdb_server.database.publisher import Publisher
from euclidesdb_server.database.reply_size import (
    GET_ADVICE,
    GET_MANY_ADVICE,
    ReplyBudget,
)
from euclidesdb_server.database.requests import (
    AddRequest,
    AddVectorsRequest,
    Call,
    FindRequest,
    UpdateRequest,
)
from euclidesdb_server.database.results import (
    Item,
    ModelAnswers,
    ModelStatus,
    Removal,
    Written,
)
from euclidesdb_server.database.searcher import Searcher
from euclidesdb_server.database.validation import (
    check_columns,
    check_id,
    check_ids,
    check_request_key,
    check_texts,
    check_vectors,
)
from euclidesdb_server.database.writer import Writer
from euclidesdb_server.errors import DatabaseError, UnknownItem
from euclidesdb_server.index import Compactor
from euclidesdb_server.store import FeatureStore
from euclidesdb_server.values.item_change import ItemChange


class FeatureDatabase:
    """The database, put together from parts that its maker owns and closes.

    exports, imports: of items as they are stored. job_steps: of embedding jobs. lock_items: as
    `Writer.lock_items`.
    """

    def __init__(
        self,
        store: FeatureStore,
        models: ModelTable,
        embedder: Embedder,
        compactor: Compactor,
        table: ItemTable,
        *,
        limits: ServerConfig,
        keep_payloads: bool,
    ) -> None:
        """limits: the keys `max_...` of [server]."""
        self._store = store
        self._models = models
        self._compactor = compactor
        self._limits = limits
        self._searcher = Searcher(store, models, embedder, table, limits=limits)
        publisher = Publisher(models, compactor, table)
        self._writer = Writer(store, publisher, keep_payloads=keep_payloads)
        self.lock_items = self._writer.lock_items
        self._adder = Adder(store, models, embedder, self._writer, limits)
        compactor.recover_with(self._writer.recover)
        self.exports = ItemExports(store, models, table)
        self.imports = ItemImports(models, self._writer, limits)
        self.job_steps = JobSteps(store, models, embedder, self._writer)

    async def add(self, request: AddRequest, call: Call) -> Written:
        """Embed and store an item. When this returns, it is on disk and in the next search.

        Replaces the vectors of the models named; what does not change is not written again. A new
        payload removes the vectors that other models made from the old one, not ready-made ones.

        A model that fails on the payload does not keep the item from being stored: its failure is.
        Returns the embedding, or the failure, of each model named, and what changed.

        Raises InvalidRequest, UnknownModel, ModelUnavailable, Overloaded, DeadlineExceeded or
        StorageError (and ModelFailed if the request is `all_or_nothing`); then nothing was written.
        """
        (outcome,) = await self.add_many([request], call)
        if isinstance(outcome, DatabaseError):
            raise outcome
        return outcome

    async def add_many(
        self, requests: Sequence[AddRequest | DatabaseError], call: Call
    ) -> list[Written | DatabaseError]:
        """Add items in order, as `add` would; an error in place of a request is its outcome.

        Raises ReplyTooLarge, before any model is run, if callers want more than fits into a reply.
        """
        return await self._adder.add(requests, call)

    def add_vectors(self, request: AddVectorsRequest) -> list[ItemChange | DatabaseError]:
        """Add items with ready-made vectors, in order; the outcome of each.

        Raises InvalidRequest, UnknownModel, ModelUnavailable, VersionMismatch or DimensionMismatch
        if no item can be added.
        """
        columns = request.columns
        check_columns(columns)
        check_request_key(request.request_key)
        space = self._models.resolve(request.model).writable_space()
        errors = check_vectors(space.record, columns.vectors, request.fingerprint, self._models)
        errors |= check_texts(columns, self._limits)
        errors |= check_ids(columns.ids)
        return self._writer.write_columns(space, columns, errors, request.request_key)

    def get(self, item_id: str, include: Include) -> Item:
        """A stored item. Raises InvalidRequest, UnknownItem, ReplyTooLarge."""
        check_id(item_id)
        budget = ReplyBudget(self._limits.max_reply_bytes, GET_ADVICE)
        with self._store.snapshot() as reader:
            record = reader.item(item_id)
            if record is None:
                raise UnknownItem(f"no item {item_id!r}")
            return ItemReads(self._store, self._models, reader, include, budget).item(
                item_id, record
            )

    def get_many(
        self, ids: Sequence[str], include: Include, call: Call
    ) -> list[Item | DatabaseError | None]:
        """Stored items of one moment, in order; None for one that is not stored.

        The outcome of an item that cannot be read, or of an impossible id, is the error. Raises
        ReplyTooLarge, StorageError; DeadlineExceeded if the caller waits no more.
        """
        budget = ReplyBudget(self._limits.max_reply_bytes, GET_MANY_ADVICE)
        with self._store.snapshot() as reader:
            return ItemReads(self._store, self._models, reader, include, budget).items(ids, call)

    def update(self, request: UpdateRequest) -> str:
        """Change the attributes or the metadata of an item; returns its attributes after that.

        Its vectors and payload stay. When this returns, the change is on disk. Raises
        InvalidRequest, UnknownItem, StorageError.
        """
        check_update(request, self._limits)
        change = partial(updated, request=request, limits=self._limits)
        digest = digest_of(request.request_key, "update", request.id)
        return self._writer.update(request.id, change, digest).attributes_json

    def remove(self, item_id: str, request_key: bytes = b"") -> None:
        """Remove an item. When this returns, it is in no answer, and stays so after any crash.

        Raises InvalidRequest, UnknownItem.
        """
        check_id(item_id)
        check_request_key(request_key)
        digest = digest_of(request_key, "remove", item_id)
        requests = None if digest is None else {item_id: digest}
        for error in self._writer.remove([item_id], requests=requests).values():
            raise error

    def remove_many(
        self, ids: Sequence[str], *, dry_run: bool = False, request_key: bytes = b""
    ) -> Removal:
        """Remove many items, each as `remove` would. dry_run: tell what would be removed."""
        check_request_key(request_key)
        if dry_run:
            return would_remove(self._store, ids)
        return remove_many(self._writer, ids, request_key)

    def remove_unchanged(self, labels: Mapping[str, int]) -> Removal:
        """Remove items whose last writes have these labels; others are among the missing."""
        return remove_unchanged(self._writer, labels)

    async def find_similar(self, request: FindRequest, call: Call) -> ModelAnswers:
        """The items nearest to each query in the space of each model, in the order of the models.

        If the request names no models, they are chosen: for raw items all that are ready and take
        their kind of input, for stored items all served now that have a vector of one of them.

        A query may fail alone: its outcome is the error. Raises InvalidRequest, UnknownModel,
        UnknownItem, ModelUnavailable or DeadlineExceeded if no query can be answered.
        """
        return await self._searcher.find(request, call)

    def adds_quickly(self) -> bool:
        """Whether an add waits for nothing but models and its write."""
        return self._store.failure is None

    def searches_quickly(self, models: Sequence[str], top_k: int) -> bool:
        """Whether a search of these models for one vector or id takes a millisecond or so."""
        # after a failed write, a read may wait until the store has been opened again
        return self._store.failure is None and self._searcher.is_quick(models, top_k)

    def close(self) -> None:
        """End the threads that write; nothing may be added any more."""
        self._adder.close()

    def list_models(self) -> tuple[ModelStatus, ...]:
        """Models served, folders that cannot be served, and spaces without a model."""
        return self._models.statuses()

    def compact(self) -> None:
        """Request that every space is compacted in the background; returns at once."""
        for space in self._models.spaces():
            self._compactor.request(space)
