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
from euclidesdb._connection import Connection, from_now
from euclidesdb._errors import Refused
from euclidesdb._images import Image
from euclidesdb._types import Embedding, Item, ModelInfo, ModelVector, Neighbors, NewItem
from euclidesdb_protos.v1 import database_pb2 as pb


class Client:
    """A connection to a EuclidesDB server. Threads may share it; close it, or use `with`.

    target: "host:port", "[::1]:port" or "unix:path"; without a port, 50000. Nothing is sent
        before the first call, so an address that nobody answers at shows there.
    timeout: seconds a call may take, retries included; None: as long as it takes. Each method
        takes its own. `add_many`, `add_vectors` and `find_similar_many` may make several calls:
        theirs holds for each of them, and where they are given none it is ten times this one,
        as each does the work of many. So it is for loading models.

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
        """Embed an item with each of `models`, store it durably, make it searchable.

        When this returns, the item is on disk and in the next search. Its vectors of models
        not named here are kept, unless its image, text or tensor changed.

        id: 1 to 512 bytes of UTF-8.
        image: a path, the bytes of an image file, or a Pillow image (its pixels as they stand).
        text: as the models' tokenizers take it.
        tensor: anything numpy takes for an array, a torch tensor on the CPU too, sent with its
            own shape and dtype, which must be those that the models take: float16 to float64,
            int8 to int64, uint8 or bool. At most one of image, text and tensor.
        vectors: ready-made vectors, float32 of shape (feature_dim,), by model.
        attributes: a JSON object; None keeps what is stored.
        metadata: opaque bytes; None keeps what is stored.

        Returns one embedding per model written; its arrays are None unless asked for.
        Never retried: after Unavailable, DeadlineExceeded or Cancelled it may have been applied.
        Raises UndecodableInput, DimensionMismatch, VersionMismatch, UnknownModel, ModelUnavailable,
        ModelFailed, Overloaded, DiskFull.
        """
        item = NewItem(id, image, models, vectors, attributes, metadata, text, tensor)
        request = add_request(item)
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

        Nothing is sent twice. Where a call fails as a whole (the server went away) or `items`
        itself raises, raises AddsInterrupted from that error, which says what is on disk and
        where to go on; or that error itself, where nothing is on disk for certain.
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
        together or cannot be sent; UnknownModel, DimensionMismatch or VersionMismatch where nothing
        was written; AddsInterrupted as `add_many` does.
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
        text: str | None = None,
        tensor: npt.ArrayLike | None = None,
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
        """The `top_k` items most like a raw item, a stored one or a vector, in each model's space.

        Give exactly one of `image`, `text`, `tensor` (each as for `add`), `id` and `vector`.

        vector: shape (feature_dim,), for exactly one model; `fingerprint`, where given, is the
            model version that made it.
        model, models: the spaces to search. Where neither is given, a raw item is searched with
            every model that is ready and takes its kind, and a stored item in every space served
            that has it; the client asks the server for these first. A vector needs one named.
        max_distance: only items at most this far away, in the model's metric; negative for
            "inner_product" only, as no other has negative distances.
        include_self: by id, answer with the item itself, too.

        Returns the answers by model name, in the order asked.
        Raises UnknownModel, UnknownItem, UndecodableInput, DimensionMismatch, VersionMismatch,
        ModelUnavailable, ModelFailed, Overloaded.
        """
        request = pb.FindSimilarRequest(
            top_k=convert.int32("top_k", top_k),
            include_self=include_self,
            include_attributes=include_attributes,
            include_metadata=include_metadata,
            max_distance=convert.number("max_distance", max_distance),
        )
        arguments = {"image": image, "text": text, "tensor": tensor, "id": id, "vector": vector}
        searches.write_query(request.query, arguments, fingerprint)
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

        Give exactly one of `images`, `texts`, `tensors`, `ids` and `vectors`; the rest means what
        it means there.

        tensors: several, or one array with a dimension more, whose first is that of the queries.
        vectors: real numbers of shape (queries, feature_dim), for exactly one model.
        model, models: may be left out for images, texts and tensors only.
        timeout: seconds for each call of at most 1,024 vectors or ids, 128 texts, or 64 images or
            tensors; None: ten times the client's.

        Each answer is a mapping of `Neighbors` by model. Where a query was refused, by the server
        (UnknownItem) or here (FileNotFoundError for its image), looking its answer up raises what
        `find_similar` would have raised for it, and its `error` is that:

            for photo, answer in zip(photos, db.find_similar_many(images=photos, model="m")):
                print(photo, answer.error or answer["m"].ids)

        Raises what `find_similar` raises where a call fails as a whole.
        """
        raw = {"images": images, "texts": texts, "tensors": tensors}
        given, queries = convert.exactly_one({**raw, "ids": ids, "vectors": vectors})
        if fingerprint is not None and given != "vectors":
            raise ValueError("fingerprint goes with vectors")
        names = searches.named_models(model, models)
        connection = self._connection
        seconds = connection.seconds_for_many(timeout)
        if names is None:
            if given not in searches.KINDS:
                raise ValueError("ids and vectors need their models: name them with model=")
            served = searches.served_models(connection, connection.until(timeout))
            names = searches.ready_for(searches.KINDS[given], served)
        conditions = pb.FindSimilarBatchRequest(
            models=names,
            top_k=convert.int32("top_k", top_k),
            include_self=include_self,
            include_attributes=include_attributes,
            include_metadata=include_metadata,
            max_distance=convert.number("max_distance", max_distance),
        )
        answers: list[Answer] = []
        for batch in searches.batches(conditions, given, queries, fingerprint):
            reply = pb.FindSimilarBatchReply()
            if batch.queries > len(batch.unsent):
                until = from_now(seconds)
                reply = connection.call(connection.stub.FindSimilarBatch, batch.request, until)
            answers.extend(answers_of(reply, batch.queries, batch.unsent, conditions))
        return tuple(answers)

    def models(self, *, timeout: float | None = None) -> tuple[ModelInfo, ...]:
        """The models served, those that could not be loaded with the reason, and former ones."""
        connection = self._connection
        return searches.served_models(connection, connection.until(timeout))

    def load_model(self, folder: str, *, timeout: float | None = None) -> ModelInfo:
        """Serve a model folder, in place of what served that model before; returns how it stands.

        While the new program is loaded and checked, and where it fails, the old one goes on. The
        vectors of the version before stay in a space of their own: see `ModelInfo.state`.

        folder: its name in the server's models folder.
        timeout: seconds; None: ten times the client's.

        Never retried: after Unavailable, DeadlineExceeded or Cancelled it may have been applied.
        Raises ModelRejected, NotAllowed where the server's configuration forbids it.
        """
        return self._load(pb.LoadModelRequest(folder=convert.text("folder", folder)), timeout)

    def reload_model(self, name: str, *, timeout: float | None = None) -> ModelInfo:
        """As `load_model`, of the folder that a model was loaded from. Raises UnknownModel, too."""
        return self._load(pb.LoadModelRequest(name=convert.text("name", name)), timeout)

    def _load(self, request: pb.LoadModelRequest, timeout: float | None) -> ModelInfo:
        connection = self._connection
        until = from_now(connection.seconds_for_many(timeout))
        reply: pb.LoadModelReply = connection.call(connection.stub.LoadModel, request, until)
        return convert.model_info(reply.model)

    def unload_model(self, name: str, *, timeout: float | None = None) -> None:
        """Stop serving a model; what it was asked before is answered, and its vectors stay.

        timeout: seconds; None: ten times the client's, as a load under way is waited for.

        Never retried, as `load_model`. Raises UnknownModel, ModelUnavailable, NotAllowed.
        """
        request = pb.UnloadModelRequest(name=convert.text("name", name))
        connection = self._connection
        until = from_now(connection.seconds_for_many(timeout))
        connection.call(connection.stub.UnloadModel, request, until)
