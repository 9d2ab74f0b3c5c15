"""`Client`: one method per call of the v1 protocol.

It turns arguments into messages, gRPC's errors into its own tree, and many items into calls of
bounded size. Its only state is the connection. The searches are in `_search_calls`,
the questions about many items in `_item_queries`, exports and imports in `_transfers`, embedding
jobs in `_job_calls`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

import numpy.typing as npt

from euclidesdb import _checks as checks
from euclidesdb import _item_calls as item_calls
from euclidesdb import _replies as replies
from euclidesdb._add_stream import MAX_IN_FLIGHT, AddStream
from euclidesdb._adds import BulkAdd
from euclidesdb._batches import VectorColumns, add_request, item_batches
from euclidesdb._connection import Connection
from euclidesdb._errors import Failed, Refused, embedding_failed
from euclidesdb._images import Image, file_name
from euclidesdb._item_calls import Items, Removal
from euclidesdb._item_queries import ItemQueries
from euclidesdb._job_calls import JobCalls
from euclidesdb._progress import Progress, reporting
from euclidesdb._query_types import Filter
from euclidesdb._search_calls import SearchCalls
from euclidesdb._states import failures_of
from euclidesdb._transfers import Transfers
from euclidesdb._types import Added, Embedding, Item, ModelInfo, ModelVector, NewItem
from euclidesdb_protos.v1 import database_pb2 as pb


class Client(SearchCalls, ItemQueries, Transfers, JobCalls):
    """A connection to a EuclidesDB server. Threads may share it; close it, or use `with`.

    target: "host:port", "[::1]:port" or "unix:path"; the default port is 50000. Nothing is sent
        before the first call, so a wrong address shows only then.
    timeout: seconds that a call may take, retries included; None: no limit. Every method accepts
        its own. `add_many`, `add_vectors`, `import_file`, `get_many`, `remove_many` and
        `find_similar_many` may make several calls; their timeout applies to each of these, and
        defaults to ten times the client's, as each does the work of many. The same default applies
        to loading and unloading models. Streams (`add_stream`, `export`) have no limit by default.

    Every method may raise the errors of `EuclidesDBError`'s tree, and ValueError or TypeError
    for arguments that cannot be sent.

    A copy of a client, also a pickled one, is a new client of the same target and timeout.
    """

    def __init__(self, target: str, *, timeout: float | None = 30.0) -> None:
        self._connection = Connection(target, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        connection = self._connection
        return partial(type(self), connection.target, timeout=connection.timeout), ()

    def close(self) -> None:
        """Close the connection; calls in progress end with Cancelled. May be called again."""
        self._connection.close()

    def add(
        self,
        id: str,  # noqa: A002  the API's name for it
        *,
        image: Image | None = None,
        text: str | None = None,
        tensor: npt.ArrayLike | None = None,
        models: Sequence[str] = (),
        vectors: Mapping[str, npt.ArrayLike | ModelVector] | None = None,
        attributes: Mapping[str, Any] | None = None,
        metadata: bytes | None = None,
        include_vectors: bool = False,
        include_predictions: bool = False,
        raise_on_failure: bool = True,
        timeout: float | None = None,
    ) -> tuple[Embedding, ...]:
        """Embed an item with each of `models`, store it durably and make it searchable.

        When this returns, the item is on disk and in the next search. Its vectors of models
        not named here are kept, unless its image, text or tensor changed. The same holds if a model
        fails on it, which raises EmbeddingFailed: it lacks the features of that model alone.

        id: 1 to 512 bytes of UTF-8.
        image: a path, the bytes of an image file, an open file, a Pillow image (without its EXIF
            data), or an array: uint8 of shape (height, width[, channels]); a torch tensor:
            ([channels, ]height, width).
        text: as the models' tokenizers expect it.
        tensor: anything that NumPy converts to an array, such as a torch tensor on the CPU. It is
            sent with its own shape and dtype, which must be those that the models expect: float16
            to float64, int8 to int64, uint8 or bool. Give at most one of image, text and tensor.
        vectors: ready-made vectors, float32 of shape (feature_dim,), by model.
        attributes: a JSON object; None keeps what is stored.
        metadata: opaque bytes; None keeps what is stored.
        raise_on_failure: False: do not raise EmbeddingFailed; the models that have failed on the
            item are left out of what this returns.

        Returns one embedding per model written; its arrays are None unless requested.
        Never retried: after Unavailable, DeadlineExceeded, Cancelled or WriteInDoubt it may have
        been applied. To repeat it is safe unless another client writes this item.
        Raises UndecodableInput, DimensionMismatch, VersionMismatch, UnknownModel, ModelUnavailable,
        EmbeddingFailed, Overloaded, DiskFull, WriteInDoubt.
        """
        raise_on_failure = checks.flag("raise_on_failure", raise_on_failure)
        item = NewItem(id, image, models, vectors, attributes, metadata, text, tensor)
        request = add_request(item)
        request.include_vectors = checks.flag("include_vectors", include_vectors)
        request.include_predictions = checks.flag("include_predictions", include_predictions)
        connection = self._connection
        reply: pb.AddItemReply = connection.call(
            connection.stub.AddItem,
            request,
            connection.call_timeout(timeout),
            file=file_name(image),
        )
        if reply.failures and raise_on_failure:
            raise embedding_failed(id, failures_of(reply.failures), file_name(image))
        return tuple(map(replies.embedding, reply.embeddings))

    def add_many(
        self,
        items: Iterable[NewItem],
        *,
        bytes_per_call: int = 8 << 20,
        progress: Progress = False,
        timeout: float | None = None,
    ) -> tuple[Refused | Failed, ...]:
        """Add items, each as `add` would; returns those with an error, () if there are none.

        When this returns, every item is on disk and in the next search, or among the refused
        (`Refused`), each with the error that `add` would have raised for it: one of the server's
        (UndecodableInput) or the client's (FileNotFoundError for an image). Items that are on disk,
        but that models have failed on, are returned, too (`Failed`). Items with the same id are
        added in the order given.

        items: any iterable, also a generator of millions: only a few hundred are held at a time.
        bytes_per_call: the size of each request; the server accepts 64 MiB by default. A larger
            item is sent alone.
        progress: True shows a bar on stderr, with items/s and, if `items` has a length, the time
            left; it needs tqdm. Or a function(done, refused), called with the number of items that
            are on disk or refused, and of those with an error among them, as calls are answered.
        timeout: seconds for each call of at most 128 items; None: ten times the client's.

        Nothing is sent twice. If a call fails as a whole (the server went away), the write of an
        item is in doubt (WriteInDoubt) or `items` itself raises, this raises AddsInterrupted from
        that error, which says what is on disk and where to resume; or that error itself, if it is
        certain that nothing is on disk.
        """
        connection = self._connection
        size = checks.positive("bytes_per_call", bytes_per_call)
        seconds = connection.bulk_timeout(timeout)
        with reporting(progress, items) as report:
            adds = BulkAdd(connection, connection.stub.AddItems, seconds, report)
            refused = adds.run(item_batches(items, size, adds.refuse))
        return tuple(sorted((*refused, *adds.failed), key=lambda each: each.position))

    def add_stream(
        self,
        items: Iterable[NewItem],
        *,
        include_vectors: bool = False,
        include_predictions: bool = False,
        max_in_flight: int = MAX_IN_FLIGHT,
        timeout: float | None = None,
    ) -> Iterator[Added | Refused]:
        """Add items as they come, each as `add` would; yields the outcome of each, in order.

        When an `Added` is yielded, its item is on disk and in the next search. Items with the same
        id are added in the order given. The stream begins when the first outcome is asked for, and
        ends with the items, or when the iterator is closed.

        items: any iterable, also one without an end. It is read in another thread, and no further
            than `max_in_flight` items ahead of the outcomes that have been taken: who takes no
            outcomes is sent no items.
        timeout: seconds for the whole stream; None: no limit.

        A `Refused` is an item of which nothing was written, except for the error WriteInDoubt: that
        one may be on disk. What `items` raises is raised after the outcomes of the items before it.
        If the stream fails, AddsInterrupted is raised from the error: `unknown` has the items that
        were sent and have no outcome, `resume_at` is the number of outcomes yielded.
        """
        checks.items("items", items, "NewItem")
        connection = self._connection
        connection.check_open()
        adds = AddStream(
            connection,
            None if timeout is None else connection.call_timeout(timeout),
            checks.positive("max_in_flight", max_in_flight),
            include_vectors=checks.flag("include_vectors", include_vectors),
            include_predictions=checks.flag("include_predictions", include_predictions),
        )
        return adds.outcomes(items)

    def add_vectors(
        self,
        ids: Iterable[str],
        vectors: npt.ArrayLike,
        *,
        model: str,
        fingerprint: str | None = None,
        attributes: Sequence[Mapping[str, Any]] | None = None,
        metadata: Sequence[bytes] | None = None,
        bytes_per_call: int = 4 << 20,
        timeout: float | None = None,
    ) -> tuple[Refused, ...]:
        """Add ready-made vectors of one model by columns; returns those that were refused.

        This is `add_many` for bulk loads: the same promises at a fraction of the work.

        vectors: real numbers of shape (ids, feature_dim); row i is the vector of the i-th id. A
            memory-mapped array is read a few megabytes at a time.
        fingerprint: the model version that made the vectors, if known.
        attributes, metadata: one per id; None keeps what is stored.
        timeout: seconds for each call of at most 4,096 vectors; None: ten times the client's.

        Raises ValueError or TypeError, before anything is sent, for columns that differ in length
        or cannot be sent; UnknownModel, DimensionMismatch or VersionMismatch if nothing was
        written; AddsInterrupted as `add_many` does.
        """
        columns = VectorColumns(
            ids,
            vectors,
            model=model,
            fingerprint=fingerprint,
            attributes=attributes,
            metadata=metadata,
        )
        connection = self._connection
        size = checks.positive("bytes_per_call", bytes_per_call)
        adds = BulkAdd(connection, connection.stub.AddVectors, connection.bulk_timeout(timeout))
        return adds.run(columns.batches(size))

    def get(
        self,
        id: str,  # noqa: A002  the API's name for it
        *,
        include_vectors: bool = False,
        include_predictions: bool = False,
        include_payload: bool = False,
        include_states: bool = False,
        timeout: float | None = None,
    ) -> Item:
        """Return a stored item. Raises UnknownItem, CorruptRecord.

        include_states: also its state in each model: whether there are features, and if not, why.
        """
        request = pb.GetItemRequest(
            id=checks.text("id", id),
            include_vectors=checks.flag("include_vectors", include_vectors),
            include_predictions=checks.flag("include_predictions", include_predictions),
            include_payload=checks.flag("include_payload", include_payload),
            include_states=checks.flag("include_states", include_states),
        )
        connection = self._connection
        reply: pb.GetItemReply = connection.call(
            connection.stub.GetItem, request, connection.call_timeout(timeout)
        )
        return replies.item(reply.item, with_states=include_states)

    def get_many(
        self,
        ids: Iterable[str],
        *,
        include_vectors: bool = False,
        include_predictions: bool = False,
        include_payload: bool = False,
        include_states: bool = False,
        timeout: float | None = None,
    ) -> Items:
        """Return many stored items, by id, in the order of `ids`; an id given twice counts once.

        Ids that are not stored are left out, and listed in `missing`. An item that cannot be read
        (CorruptRecord, or ReplyTooLarge for one that is too large alone) is listed in `refused`.

        timeout: seconds for each call of at most 1,024 items, or 64 with their payload; None: ten
            times the client's. The items of one call are of one moment.
        """
        include = {
            "include_vectors": include_vectors,
            "include_predictions": include_predictions,
            "include_payload": include_payload,
            "include_states": include_states,
        }
        connection = self._connection
        return item_calls.get_many(connection, ids, include, connection.bulk_timeout(timeout))

    def exists(self, id: str, *, timeout: float | None = None) -> bool:  # noqa: A002  as above
        """Whether an item is stored. Raises CorruptRecord if its record cannot be read."""
        connection = self._connection
        return item_calls.exists(connection, id, connection.call_timeout(timeout))

    def update(
        self,
        id: str,  # noqa: A002  the API's name for it
        *,
        attributes: Mapping[str, Any] | None = None,
        merge: Mapping[str, Any] | None = None,
        remove: Sequence[str] = (),
        metadata: bytes | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Change the attributes or the metadata of a stored item; returns its attributes then.

        Its vectors and its image, text or tensor stay, and no model is run. When this returns, the
        change is on disk.

        attributes: replaces all attributes. Instead of it, or not at all:
        remove: names of attributes to remove, in nested objects with dots ("size.width"); those
            that the item does not have are ignored.
        merge: attributes to set after that. Nested mappings are merged in turn, and None removes an
            attribute (RFC 7396). Of two merges at once, both survive.
        metadata: replaces the stored bytes.

        Never retried: after Unavailable, DeadlineExceeded, Cancelled or WriteInDoubt it may have
        been applied. To repeat it is safe unless another client writes this item.
        Raises UnknownItem, CorruptRecord, DiskFull, WriteInDoubt; InvalidRequest if the attributes
        would be too large.
        """
        request = item_calls.update_request(id, attributes, merge, remove, metadata)
        connection = self._connection
        reply: pb.UpdateItemReply = connection.call(
            connection.stub.UpdateItem, request, connection.call_timeout(timeout)
        )
        return dict(replies.parsed_attributes(reply.attributes_json))

    def remove_many(
        self,
        ids: Iterable[str] | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002  the API's name for it
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> Removal:
        """Remove many items, each as `remove` would: those with some ids, or that match a filter.

        ids: an id given twice counts once. filter: one that is written meanwhile is removed if it
        matches then. Give one of both.
        dry_run: remove nothing, and return what would be removed.
        timeout: seconds for each call of at most 10,000 items; None: ten times the client's.

        Never retried. If a call fails as a whole, or the removal of an item is in doubt
        (WriteInDoubt), some items are removed, and others are not: repeat it, and those that were
        removed are among the missing.
        """
        connection = self._connection
        seconds = connection.bulk_timeout(timeout)
        if ids is not None and filter is None:
            return item_calls.remove_many(connection, ids, dry_run=dry_run, timeout=seconds)
        if ids is None and filter is not None:
            return item_calls.remove_matching(connection, filter, dry_run=dry_run, timeout=seconds)
        raise ValueError("give either ids or filter")

    def remove(self, id: str, *, timeout: float | None = None) -> None:  # noqa: A002  as above
        """Remove an item from the database and from all later search results. Raises UnknownItem.

        Never retried: after Unavailable, DeadlineExceeded, Cancelled or WriteInDoubt it may have
        been applied. If it is repeated then, UnknownItem means that it was.
        """
        request = pb.RemoveItemRequest(id=checks.text("id", id))
        connection = self._connection
        connection.call(connection.stub.RemoveItem, request, connection.call_timeout(timeout))

    def models(self, *, timeout: float | None = None) -> tuple[ModelInfo, ...]:
        """List the models served, those that could not be loaded and why, and former versions."""
        connection = self._connection
        reply: pb.ListModelsReply = connection.call(
            connection.stub.ListModels, pb.ListModelsRequest(), connection.call_timeout(timeout)
        )
        return tuple(map(replies.model_info, reply.models))

    def load_model(self, folder: str, *, timeout: float | None = None) -> ModelInfo:
        """Serve a model folder, replacing the version of that model served before.

        The old version is served until the new one has been loaded and checked, and stays if that
        fails. Its vectors stay in a separate space: see `ModelInfo.state`.

        folder: its name in the server's models folder.
        timeout: seconds; None: ten times the client's.

        Returns the model's new state.
        Never retried: after Unavailable, DeadlineExceeded or Cancelled it may have been applied.
        Raises ModelRejected, and NotAllowed if the server's configuration forbids it.
        """
        return self._load(pb.LoadModelRequest(folder=checks.text("folder", folder)), timeout)

    def reload_model(self, name: str, *, timeout: float | None = None) -> ModelInfo:
        """Load again the folder that a model was loaded from, as `load_model` does.

        Raises UnknownModel in addition.
        """
        return self._load(pb.LoadModelRequest(name=checks.text("name", name)), timeout)

    def _load(self, request: pb.LoadModelRequest, timeout: float | None) -> ModelInfo:
        connection = self._connection
        reply: pb.LoadModelReply = connection.call(
            connection.stub.LoadModel, request, connection.bulk_timeout(timeout)
        )
        return replies.model_info(reply.model)

    def unload_model(self, name: str, *, timeout: float | None = None) -> None:
        """Stop serving a model. Requests that it has accepted are answered; its vectors stay.

        timeout: seconds; None: ten times the client's, as the call waits for a load in progress.

        Never retried, like `load_model`. Raises UnknownModel, ModelUnavailable, NotAllowed.
        """
        request = pb.UnloadModelRequest(name=checks.text("name", name))
        connection = self._connection
        connection.call(connection.stub.UnloadModel, request, connection.bulk_timeout(timeout))

    def drop_model_version(self, name: str, *, timeout: float | None = None) -> None:
        """Delete a former version of a model with all its vectors. Items stay, with the rest.

        When this returns, the version is gone, even if the server crashes; its disk space is freed
        in the background. An item that has no other vector stays, too, with its attributes, its
        metadata and what was kept of its image, text or tensor.

        name: "model@fingerprint", as `models` lists it.
        timeout: seconds; None: ten times the client's, as the call waits for a load in progress.

        Never retried, like `load_model`. Raises UnknownModel, InvalidRequest if the version is in
        service, NotAllowed.
        """
        request = pb.DropModelVersionRequest(name=checks.text("name", name))
        connection = self._connection
        connection.call(connection.stub.DropModelVersion, request, connection.bulk_timeout(timeout))
