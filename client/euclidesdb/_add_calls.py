"""`AddCalls`: the operations that add items."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Any

import numpy.typing as npt

from euclidesdb import _checks as checks
from euclidesdb import _replies as replies
from euclidesdb._add_stream import MAX_IN_FLIGHT, AddStream
from euclidesdb._adds import BulkAdd
from euclidesdb._batches import NewItems, VectorColumns, item_batches, item_request
from euclidesdb._changes import AddErrors, Embeddings, change_of
from euclidesdb._checks import ItemId
from euclidesdb._connection import Connection
from euclidesdb._errors import Failed, Refused
from euclidesdb._images import Image, file_name
from euclidesdb._operation import iteration, operation
from euclidesdb._progress import Progress, reporting
from euclidesdb._states import failures_of
from euclidesdb._translation import embedding_failed
from euclidesdb._types import Added, ModelVector, NewItem
from euclidesdb_protos.v1 import database_pb2 as pb


class AddCalls:
    """A part of both clients, which have the connection."""

    _connection: Connection

    @operation
    async def add(
        self,
        id: ItemId,  # noqa: A002  the API's name for it
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
        request_key: bytes | None = None,
        timeout: float | None = None,
    ) -> Embeddings:
        """Embed an item with each of `models`, store it durably and make it searchable.

        When this returns, the item is on disk and in the next search. Its vectors of models
        not named here are kept, unless its image, text or tensor changed. The same holds if a model
        fails on it, which raises EmbeddingFailed: it lacks the features of that model alone.

        id: 1 to 512 bytes of UTF-8.
        image: a path, the bytes of an image file, an open file, a Pillow image (without its EXIF
            data), or an array: uint8 of shape (height, width[, channels]); a torch tensor:
            ([channels, ]height, width).
        text: as the models' tokenizers expect it.
        models: those that embed it; if there are none, the only model that takes such an item. If
            there are several, that is an InvalidRequest, which names them.
        tensor: anything that NumPy converts to an array, such as a torch tensor on the CPU. It is
            sent with its own shape and dtype, which must be those that the models expect: float16
            to float64, int8 to int64, uint8 or bool. Give at most one of image, text and tensor.
        vectors: ready-made vectors, float32 of shape (feature_dim,), by model.
        attributes: a JSON object; None keeps what is stored.
        metadata: opaque bytes; None keeps what is stored.
        raise_on_failure: False: do not raise EmbeddingFailed; the models that have failed on the
            item are left out of what this returns.
        request_key: 8 to 64 random bytes, for a program that is to repeat this after it was started
            again: by the same key, the server knows what it has applied, for ten minutes.

        Returns one embedding per model written; its arrays are None unless requested. Their
        `change` is "added", "replaced" or "unchanged".
        Retried after a lost reply, without undoing what another client has written since. After
        Unavailable, DeadlineExceeded, Cancelled or WriteInDoubt it may have been applied.
        Raises UndecodableInput, DimensionMismatch, VersionMismatch, UnknownModel, ModelUnavailable,
        EmbeddingFailed, Overloaded, DiskFull, WriteInDoubt.
        """
        raise_on_failure = checks.flag("raise_on_failure", raise_on_failure)
        item = NewItem(id, image, models, vectors, attributes, metadata, text, tensor, request_key)
        connection = self._connection
        request = await item_request(connection, item)
        request.include_vectors = checks.flag("include_vectors", include_vectors)
        request.include_predictions = checks.flag("include_predictions", include_predictions)
        reply: pb.AddItemReply = await connection.call(
            "AddItem",
            request,
            connection.call_timeout(timeout),
            file=file_name(image),
        )
        if reply.failures and raise_on_failure:
            raise embedding_failed(request.id, failures_of(reply.failures), file_name(image))
        return Embeddings(map(replies.embedding, reply.embeddings), change_of(reply.change))

    @operation
    async def add_many(
        self,
        items: NewItems,
        *,
        bytes_per_call: int = 8 << 20,
        progress: Progress = False,
        timeout: float | None = None,
    ) -> AddErrors[Refused | Failed]:
        """Add items, each as `add` would; returns those with an error, () if there are none.

        When this returns, every item is on disk and in the next search, or among the refused
        (`Refused`), each with the error that `add` would have raised for it: one of the server's
        (UndecodableInput) or the client's (FileNotFoundError for an image). Items that are on disk,
        but that models have failed on, are returned, too (`Failed`). Items with the same id are
        added in the order given. `changes` of what is returned counts the items on disk: how many
        are new, changed, and unchanged.

        items: any iterable, also a generator of millions: only a few hundred are held at a time.
        bytes_per_call: the size of each request; the server accepts 64 MiB by default. A larger
            item is sent alone.
        progress: True shows a bar on stderr, with items/s and, if `items` has a length, the time
            left; it needs tqdm. Or a function(done, refused), called with the number of items that
            are on disk or refused, and of those with an error among them, as calls are answered.
        timeout: seconds for each call of at most 128 items; None: ten times the client's.

        If a call fails as a whole (the server stays away), the write of an
        item is in doubt (WriteInDoubt) or `items` itself raises, this raises AddsInterrupted from
        that error, which says what is on disk and where to resume; or that error itself, if it is
        certain that nothing is on disk.
        """
        connection = self._connection
        size = checks.positive("bytes_per_call", bytes_per_call)
        seconds = connection.bulk_timeout(timeout)
        given = connection.each(items, "items", "NewItem")
        with reporting(progress, items) as report:
            adds = BulkAdd(connection, seconds, report)
            refused = await adds.run(item_batches(connection, given, size, adds.refuse))
        errors: list[Refused | Failed] = [*refused, *adds.failed]
        errors.sort(key=lambda each: each.position)
        return AddErrors(errors, refused.changes)

    @operation
    async def add_vectors(
        self,
        ids: Iterable[ItemId],
        vectors: npt.ArrayLike,
        *,
        model: str,
        fingerprint: str | None = None,
        attributes: Sequence[Mapping[str, Any]] | None = None,
        metadata: Sequence[bytes] | None = None,
        bytes_per_call: int = 4 << 20,
        request_key: bytes | None = None,
        timeout: float | None = None,
    ) -> AddErrors[Refused]:
        """Add ready-made vectors of one model by columns; returns those that were refused.

        This is `add_many` for bulk loads: the same promises at a fraction of the work.

        vectors: real numbers of shape (ids, feature_dim); row i is the vector of the i-th id. A
            memory-mapped array is read a few megabytes at a time.
        fingerprint: the model version that made the vectors, if known.
        attributes, metadata: one per id; None keeps what is stored.
        request_key: as in `add`; the other arguments must be the same, too.
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
            request_key=request_key,
        )
        connection = self._connection
        size = checks.positive("bytes_per_call", bytes_per_call)
        adds = BulkAdd(connection, connection.bulk_timeout(timeout))
        return await adds.run(columns.batches(size))

    @iteration
    def add_stream(
        self,
        items: NewItems,
        *,
        include_vectors: bool = False,
        include_predictions: bool = False,
        max_in_flight: int = MAX_IN_FLIGHT,
        timeout: float | None = None,
    ) -> AsyncGenerator[Added | Refused, None]:
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
        connection = self._connection
        given = connection.each(items, "items", "NewItem")
        connection.check_open()
        adds = AddStream(
            connection,
            connection.stream_timeout(timeout),
            checks.positive("max_in_flight", max_in_flight),
            include_vectors=checks.flag("include_vectors", include_vectors),
            include_predictions=checks.flag("include_predictions", include_predictions),
        )
        return adds.outcomes(given)
