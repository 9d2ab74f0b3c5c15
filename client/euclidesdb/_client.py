"""`Client`: one method per call of the v1 protocol.

It turns arguments into messages, gRPC's errors into its own tree, and many items into calls of
bounded size. Its only state is the connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

import numpy.typing as npt

from euclidesdb import _checks as checks
from euclidesdb import _replies as replies
from euclidesdb import _searches as searches
from euclidesdb._add_stream import MAX_IN_FLIGHT, AddStream
from euclidesdb._adds import BulkAdd
from euclidesdb._answers import Answer, answers_of
from euclidesdb._batches import VectorColumns, add_request, item_batches
from euclidesdb._connection import Connection
from euclidesdb._errors import Refused
from euclidesdb._images import Image, file_name
from euclidesdb._progress import Progress, reporting
from euclidesdb._types import Added, Embedding, Item, ModelInfo, ModelVector, Neighbors, NewItem
from euclidesdb_protos.v1 import database_pb2 as pb


class Client:
    """A connection to a EuclidesDB server. Threads may share it; close it, or use `with`.

    target: "host:port", "[::1]:port" or "unix:path"; the default port is 50000. Nothing is sent
        before the first call, so a wrong address shows only then.
    timeout: seconds that a call may take, retries included; None: no limit. Every method accepts
        its own. `add_many`, `add_vectors` and `find_similar_many` may make several calls; their
        timeout applies to each of these, and defaults to ten times the client's, as each does the
        work of many. The same default applies to loading and unloading models.

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
        timeout: float | None = None,
    ) -> tuple[Embedding, ...]:
        """Embed an item with each of `models`, store it durably and make it searchable.

        When this returns, the item is on disk and in the next search. Its vectors of models
        not named here are kept, unless its image, text or tensor changed.

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

        Returns one embedding per model written; its arrays are None unless requested.
        Never retried: after Unavailable, DeadlineExceeded, Cancelled or WriteInDoubt it may have
        been applied. To repeat it is safe unless another client writes this item.
        Raises UndecodableInput, DimensionMismatch, VersionMismatch, UnknownModel, ModelUnavailable,
        ModelFailed, Overloaded, DiskFull, WriteInDoubt.
        """
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
        return tuple(map(replies.embedding, reply.embeddings))

    def add_many(
        self,
        items: Iterable[NewItem],
        *,
        bytes_per_call: int = 8 << 20,
        progress: Progress = False,
        timeout: float | None = None,
    ) -> tuple[Refused, ...]:
        """Add items, each as `add` would; returns those that were refused, () if there are none.

        When this returns, every item is on disk and in the next search, or among the refused,
        each with the error that `add` would have raised for it: one of the server's
        (UndecodableInput) or the client's (FileNotFoundError for an image). Items with the same id
        are added in the order given.

        items: any iterable, also a generator of millions: only a few hundred are held at a time.
        bytes_per_call: the size of each request; the server accepts 64 MiB by default. A larger
            item is sent alone.
        progress: True shows a bar on stderr, with items/s and, if `items` has a length, the time
            left; it needs tqdm. Or a function(done, refused), called with the number of items that
            are on disk or refused, and of those refused among them, as calls are answered.
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
            return adds.run(item_batches(items, size, adds.refuse))

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
        timeout: float | None = None,
    ) -> Item:
        """Return a stored item. Raises UnknownItem, CorruptRecord."""
        request = pb.GetItemRequest(
            id=checks.text("id", id),
            include_vectors=checks.flag("include_vectors", include_vectors),
            include_predictions=checks.flag("include_predictions", include_predictions),
            include_payload=checks.flag("include_payload", include_payload),
        )
        connection = self._connection
        reply: pb.GetItemReply = connection.call(
            connection.stub.GetItem, request, connection.call_timeout(timeout)
        )
        return replies.item(reply.item)

    def remove(self, id: str, *, timeout: float | None = None) -> None:  # noqa: A002  as above
        """Remove an item from the database and from all later search results. Raises UnknownItem.

        Never retried: after Unavailable, DeadlineExceeded, Cancelled or WriteInDoubt it may have
        been applied. If it is repeated then, UnknownItem means that it was.
        """
        request = pb.RemoveItemRequest(id=checks.text("id", id))
        connection = self._connection
        connection.call(connection.stub.RemoveItem, request, connection.call_timeout(timeout))

    def find_similar(
        self,
        *,
        image: Image | None = None,
        text: str | None = None,
        tensor: npt.ArrayLike | None = None,
        id: str | None = None,  # noqa: A002  the API's name for it
        vector: npt.ArrayLike | ModelVector | None = None,
        fingerprint: str | None = None,
        model: str | None = None,
        models: Sequence[str] | None = None,
        top_k: int = 10,
        max_distance: float | None = None,
        include_self: bool = False,
        include_attributes: bool = False,
        include_metadata: bool = False,
        timeout: float | None = None,
    ) -> dict[str, Neighbors]:
        """Find the `top_k` items most similar to a raw item, a stored item or a vector.

        Give exactly one of `image`, `text`, `tensor` (each as for `add`), `id` and `vector`.

        vector: shape (feature_dim,), for exactly one model; `fingerprint` is the model version
            that made it, if known.
        model, models: the models whose spaces are searched. If neither is given, the server
            chooses: for a raw item, every model that is ready and takes its kind; for a stored
            item, every model served now that has a vector of it. A vector requires one.
        max_distance: return only items at most this far away, in the model's metric; negative
            only for "inner_product", as no other metric has negative distances.
        include_self: for a search by id, also return the item itself.

        Returns the results by model name, in the order of `models`.
        Raises UnknownModel, UnknownItem, UndecodableInput, DimensionMismatch, VersionMismatch,
        ModelUnavailable, ModelFailed, Overloaded.
        """
        request = pb.FindSimilarRequest(
            top_k=checks.int32("top_k", top_k),
            include_self=checks.flag("include_self", include_self),
            include_attributes=checks.flag("include_attributes", include_attributes),
            include_metadata=checks.flag("include_metadata", include_metadata),
            max_distance=checks.number("max_distance", max_distance),
        )
        arguments = {"image": image, "text": text, "tensor": tensor, "id": id, "vector": vector}
        searches.write_query(request.query, arguments, fingerprint)
        given = request.query.WhichOneof("kind")
        request.models.extend(searches.named_models(model, models, given))
        connection = self._connection
        reply: pb.FindSimilarReply = connection.call(
            connection.stub.FindSimilar,
            request,
            connection.call_timeout(timeout),
            file=file_name(image),
        )
        return {
            answer.model: replies.neighbors(
                answer,
                include_attributes=include_attributes,
                include_metadata=include_metadata,
            )
            for answer in reply.answers
        }

    def find_similar_many(
        self,
        *,
        images: Iterable[Image] | None = None,
        texts: Iterable[str] | None = None,
        tensors: Iterable[npt.ArrayLike] | None = None,
        ids: Iterable[str] | None = None,
        vectors: npt.ArrayLike | None = None,
        fingerprint: str | None = None,
        model: str | None = None,
        models: Sequence[str] | None = None,
        top_k: int = 10,
        max_distance: float | None = None,
        include_self: bool = False,
        include_attributes: bool = False,
        include_metadata: bool = False,
        timeout: float | None = None,
    ) -> tuple[Answer, ...]:
        """Answer many queries at once, each as `find_similar` would, in the order given.

        Give exactly one of `images`, `texts`, `tensors`, `ids` and `vectors`. The other arguments
        are those of `find_similar`.

        tensors: an iterable of tensors, or one array whose first dimension is that of the queries.
        vectors: real numbers of shape (queries, feature_dim), for exactly one model.
        model, models: if neither is given, the server chooses the models for each call.
        timeout: seconds for each call of at most 1,024 vectors or ids, 128 texts, or 64 images or
            tensors; None: ten times the client's.

        Each answer is a mapping from model names to `Neighbors`. If a query was refused, by the
        server (UnknownItem) or by the client (FileNotFoundError for an image), looking up a model
        in its answer raises the error that `find_similar` would have raised for it; `error` gives
        it without raising:

            for photo, answer in zip(photos, db.find_similar_many(images=photos, model="m")):
                print(photo, answer.error or answer["m"].ids)

        Raises the errors of `find_similar` if a call fails as a whole.
        """
        raw = {"images": images, "texts": texts, "tensors": tensors}
        given, queries = checks.exactly_one({**raw, "ids": ids, "vectors": vectors})
        if fingerprint is not None and given != "vectors":
            raise ValueError("fingerprint goes with vectors")
        conditions = pb.FindSimilarBatchRequest(
            models=searches.named_models(model, models, given),
            top_k=checks.int32("top_k", top_k),
            include_self=checks.flag("include_self", include_self),
            include_attributes=checks.flag("include_attributes", include_attributes),
            include_metadata=checks.flag("include_metadata", include_metadata),
            max_distance=checks.number("max_distance", max_distance),
        )
        connection = self._connection
        seconds = connection.bulk_timeout(timeout)
        answers: list[Answer] = []
        for batch in searches.batches(conditions, given, queries, fingerprint):
            reply = pb.FindSimilarBatchReply()
            if batch.queries > len(batch.unsent):
                reply = connection.call(connection.stub.FindSimilarBatch, batch.request, seconds)
            answers.extend(answers_of(reply, batch))
        return tuple(answers)

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
