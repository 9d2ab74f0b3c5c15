"""`Client`: one method per call of the v1 protocol, and nothing of its own but good manners.

It turns arguments into messages, errors into its own tree, many items into calls of bounded size,
and asks for the models where a search names none. It keeps no state but the connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy.typing as npt

from euclidesdb import _convert as convert
from euclidesdb import _searches as searches
from euclidesdb._adds import Adding
from euclidesdb._answers import Answer, answers_of
from euclidesdb._batches import VectorColumns, add_request, item_batches
from euclidesdb._connection import Connection
from euclidesdb._errors import Refused
from euclidesdb._images import Image
from euclidesdb._types import Embedding, Item, ModelInfo, ModelVector, Neighbors, NewItem
from euclidesdb_protos.v1 import database_pb2 as pb


class Client:
    """A connection to a EuclidesDB server. Threads may share it; close it, or use `with`.

    target: "host:port", or any other name that gRPC resolves. Nothing is sent before the first
        call, so a wrong target shows there.
    timeout: seconds a call may take, retries included; None: as long as it takes. Each method
        takes its own. `add_many`, `add_vectors` and `find_similar_many` may make several calls:
        theirs holds for each of them, and where they are given none it is ten times this one,
        as each does the work of many.

    Every method may raise the errors of `EuclidesDBError`'s tree, and ValueError or TypeError
    for arguments that cannot be sent.
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

    def close(self) -> None:
        """Close the connection; calls in progress end with Cancelled. May be called again."""
        self._connection.close()

    def add(
        self,
        id: str,  # noqa: A002  the database's word for it
        *,
        image: Image | None = None,
        models: Sequence[str] = (),
        vectors: Mapping[str, npt.ArrayLike | ModelVector] | None = None,
        attributes: Mapping[str, Any] | None = None,
        metadata: bytes | None = None,
        include_vectors: bool = False,
        include_predictions: bool = False,
        timeout: float | None = None,
    ) -> tuple[Embedding, ...]:
        """Embed an item with each of `models`, store it durably, make it searchable.

        When this returns, the item is on disk and in the next search. Its vectors of models
        not named here are kept, unless its image changed.

        id: 1 to 512 bytes of UTF-8.
        image: a path, the bytes of an image file, or a Pillow image (its pixels as they stand).
        vectors: ready-made vectors, float32 of shape (feature_dim,), by model.
        attributes: a JSON object; None keeps what is stored.
        metadata: opaque bytes; None keeps what is stored.

        Returns one embedding per model written; its arrays are None unless asked for.
        Never retried: after Unavailable, DeadlineExceeded or Cancelled it may have been applied.
        Raises UndecodableInput, DimensionMismatch, StaleSpace, UnknownModel, ModelUnavailable,
        ModelFailed, Overloaded, DiskFull.
        """
        request = add_request(NewItem(id, image, models, vectors, attributes, metadata))
        request.include_vectors = include_vectors
        request.include_predictions = include_predictions
        connection = self._connection
        reply: pb.AddItemReply = connection.call(
            connection.stub.AddItem, request, connection.until(timeout)
        )
        return tuple(map(convert.embedding, reply.embeddings))

    def add_many(
        self,
        items: Iterable[NewItem],
        *,
        bytes_per_call: int = 8 << 20,
        timeout: float | None = None,
    ) -> tuple[Refused, ...]:
        """Add items, each as `add` would, and return those that were refused; () is all's well.

        When this returns, every item is on disk and in the next search, or among the refused,
        each with the error that `add` would have raised for it: of the server (UndecodableInput)
        or here (FileNotFoundError for its image). Items of one id are added in the order given.

        items: any iterable, millions from a generator too: a few hundred are held at a time.
        bytes_per_call: how much is sent at once; the server takes 64 MiB by default. An item
            that is larger goes alone.
        timeout: seconds for each call of at most 128 items; None: ten times the client's.

        Nothing is sent twice. Raises AddsInterrupted, which says what is on disk and where to go
        on, where a call failed as a whole (the server went away) or `items` itself raised.
        """
        connection = self._connection
        seconds = connection.seconds_for_many(timeout)
        adding = Adding(connection, connection.stub.AddItems, seconds)
        return adding.run(item_batches(items, bytes_per_call, adding.refuse))

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
        """Add ready-made vectors of one model by columns, and return those that were refused.

        `add_many` for bulk loads: the same promises, a fraction of the work.

        vectors: real numbers of shape (ids, feature_dim); of a memory-mapped array a few
            megabytes are read at a time. Row i is the vector of the i-th id.
        fingerprint: the model version that made them, where known.
        attributes, metadata: one per id; None keeps what is stored.
        timeout: seconds for each call of at most 4,096 vectors; None: ten times the client's.

        Raises ValueError or TypeError, before anything is sent, for columns that do not fit
        together or cannot be sent; AddsInterrupted as `add_many` does.
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
        seconds = connection.seconds_for_many(timeout)
        adding = Adding(connection, connection.stub.AddVectors, seconds)
        return adding.run(columns.batches(bytes_per_call))

    def get(
        self,
        id: str,  # noqa: A002  the database's word for it
        *,
        include_vectors: bool = False,
        include_predictions: bool = False,
        include_payload: bool = False,
        timeout: float | None = None,
    ) -> Item:
        """A stored item. Raises UnknownItem, CorruptRecord."""
        request = pb.GetItemRequest(
            id=convert.text("id", id),
            include_vectors=include_vectors,
            include_predictions=include_predictions,
            include_payload=include_payload,
        )
        connection = self._connection
        reply: pb.GetItemReply = connection.call(
            connection.stub.GetItem, request, connection.until(timeout)
        )
        return convert.item(reply.item)

    def remove(self, id: str, *, timeout: float | None = None) -> None:  # noqa: A002  as above
        """Remove an item from the database and from every answer, at once. Raises UnknownItem.

        Never retried: after Unavailable, DeadlineExceeded or Cancelled it may have been applied.
        """
        request = pb.RemoveItemRequest(id=convert.text("id", id))
        connection = self._connection
        connection.call(connection.stub.RemoveItem, request, connection.until(timeout))

    def find_similar(
        self,
        *,
        image: Image | None = None,
        id: str | None = None,  # noqa: A002  the database's word for it
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
        """The `top_k` items most like an image, a stored item or a vector, in each model's space.

        Give exactly one of `image`, `id` and `vector`.

        vector: shape (feature_dim,), for exactly one model; `fingerprint`, where given, is the
            model version that made it.
        model, models: the spaces to search. Where neither is given, an image is searched with
            every model that is ready and takes images, and a stored item in every space served
            that has it; the client asks the server for these first. A vector needs one named.
        max_distance: only items at most this far away, in the model's metric.
        include_self: by id, answer with the item itself, too.

        Returns the answers by model name, in the order asked.
        Raises UnknownModel, UnknownItem, UndecodableInput, DimensionMismatch, StaleSpace,
        ModelUnavailable, ModelFailed, Overloaded.
        """
        request = pb.FindSimilarRequest(
            top_k=convert.int32("top_k", top_k),
            include_self=include_self,
            include_attributes=include_attributes,
            include_metadata=include_metadata,
            max_distance=convert.number("max_distance", max_distance),
        )
        searches.write_query(request.query, image, id, vector, fingerprint)
        names = searches.named_models(model, models)
        connection = self._connection
        until = connection.until(timeout)
        if names is None:
            names = searches.models_to_search(connection, request.query, until)
        request.models.extend(names)
        reply: pb.FindSimilarReply = connection.call(connection.stub.FindSimilar, request, until)
        return {
            answer.model: convert.neighbors(
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

        Give exactly one of `images`, `ids` and `vectors`; the rest means what it means there.

        vectors: real numbers of shape (queries, feature_dim), for exactly one model.
        model, models: may be left out for images only.
        timeout: seconds for each call of at most 1,024 vectors or ids, or 64 images; None: ten
            times the client's.

        Each answer is a mapping of `Neighbors` by model. Where a query was refused, looking its
        answer up raises what `find_similar` would have raised for it, and its `error` is that:

            for photo, answer in zip(photos, db.find_similar_many(images=photos, model="m")):
                print(photo, answer.error or answer["m"].ids)

        Raises what `find_similar` raises where a call fails as a whole.
        """
        if sum([images is not None, ids is not None, vectors is not None]) != 1:
            raise ValueError("give exactly one of images, ids and vectors")
        if fingerprint is not None and vectors is None:
            raise ValueError("fingerprint goes with vectors")
        names = searches.named_models(model, models)
        connection = self._connection
        seconds = connection.seconds_for_many(timeout)
        if names is None:
            if images is None:
                raise ValueError("ids and vectors need their models: name them with model=")
            served = searches.served_models(connection, connection.until(timeout))
            names = searches.ready_for_images(served)
        conditions = pb.FindSimilarBatchRequest(
            models=names,
            top_k=convert.int32("top_k", top_k),
            include_self=include_self,
            include_attributes=include_attributes,
            include_metadata=include_metadata,
            max_distance=convert.number("max_distance", max_distance),
        )
        answers: list[Answer] = []
        for queries, request in searches.batches(conditions, images, ids, vectors, fingerprint):
            until = connection.until(seconds)
            reply = connection.call(connection.stub.FindSimilarBatch, request, until)
            answers.extend(answers_of(reply, queries, conditions))
        return tuple(answers)

    def models(self, *, timeout: float | None = None) -> tuple[ModelInfo, ...]:
        """The models served, and those that could not be loaded with the reason."""
        connection = self._connection
        return searches.served_models(connection, connection.until(timeout))
