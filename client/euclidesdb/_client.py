"""`Client`: one method per call of the v1 protocol, and nothing of its own but good manners.

It turns arguments into messages, errors into its own tree, and asks for the models where a
search names none. It keeps no state but the channel.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import numpy.typing as npt

from euclidesdb import _convert as convert
from euclidesdb._channel import open_channel
from euclidesdb._errors import ClientClosed, ModelUnavailable, UnknownItem, translated
from euclidesdb._images import Image, encoded_image
from euclidesdb._types import Embedding, Item, ModelInfo, ModelVector, Neighbors
from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_protos.v1 import database_pb2_grpc as pb_grpc

_Reply = TypeVar("_Reply")


class Client:
    """A connection to a EuclidesDB server. Threads may share it; close it, or use `with`.

    target: "host:port", or any other name that gRPC resolves. Nothing is sent before the first
        call, so a wrong target shows there.
    timeout: seconds a call may take, retries included; None: as long as it takes. Each method
        takes its own.

    Every method may raise the errors of `EuclidesDBError`'s tree, and ValueError or TypeError
    for arguments that cannot be sent.
    """

    def __init__(self, target: str, *, timeout: float | None = 30.0) -> None:
        _deadline(timeout)
        self._timeout = timeout
        self._closed = False
        self._channel = open_channel(target)
        self._stub: Any = cast("Any", pb_grpc.FeatureDatabaseStub)(self._channel)

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
        self._closed = True
        self._channel.close()

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
        request = pb.AddItemRequest(
            id=convert.text("id", id),
            models=convert.names("models", models),
            include_vectors=include_vectors,
            include_predictions=include_predictions,
        )
        if image is not None:
            request.payload.image = encoded_image(image)
        for model, vector in (vectors or {}).items():
            name = convert.text("a name in vectors", model)
            request.vectors[name].CopyFrom(convert.vector_message(vector))
        if attributes is not None:
            request.attributes_json = convert.attributes_json(attributes)
        if metadata is not None:
            request.metadata = convert.opaque("metadata", metadata)
        reply: pb.AddItemReply = self._call(self._stub.AddItem, request, self._until(timeout))
        return tuple(map(convert.embedding, reply.embeddings))

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
        reply: pb.GetItemReply = self._call(self._stub.GetItem, request, self._until(timeout))
        return convert.item(reply.item)

    def remove(self, id: str, *, timeout: float | None = None) -> None:  # noqa: A002  as above
        """Remove an item from the database and from every answer, at once. Raises UnknownItem.

        Never retried: after Unavailable, DeadlineExceeded or Cancelled it may have been applied.
        """
        request = pb.RemoveItemRequest(id=convert.text("id", id))
        self._call(self._stub.RemoveItem, request, self._until(timeout))

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
        include_self: by id, answer with the item itself, too.

        Returns the answers by model name, in the order asked.
        Raises UnknownModel, UnknownItem, UndecodableInput, DimensionMismatch, StaleSpace,
        ModelUnavailable, ModelFailed, Overloaded.
        """
        if sum(given is not None for given in (image, id, vector)) != 1:
            raise ValueError("give exactly one of image, id and vector")
        if model is not None and models is not None:
            raise ValueError("give model or models, not both")
        if fingerprint is not None and (vector is None or isinstance(vector, ModelVector)):
            raise ValueError("fingerprint goes with a vector, and a ModelVector has its own")

        request = pb.FindSimilarRequest(
            top_k=convert.int32("top_k", top_k),
            include_self=include_self,
            include_attributes=include_attributes,
            include_metadata=include_metadata,
        )
        if image is not None:
            request.query.payload.image = encoded_image(image)
        elif id is not None:
            request.query.id = convert.text("id", id)
        elif isinstance(vector, ModelVector):
            request.query.vector.CopyFrom(convert.vector_message(vector))
        elif vector is not None:
            versioned = ModelVector(vector, fingerprint)
            request.query.vector.CopyFrom(convert.vector_message(versioned))

        until = self._until(timeout)
        if model is not None:
            request.models.append(convert.text("model", model))
        elif models is not None:
            request.models.extend(convert.names("models", models))
        else:
            request.models.extend(self._models_to_search(request.query, until))
        reply: pb.FindSimilarReply = self._call(self._stub.FindSimilar, request, until)
        return {
            answer.model: convert.neighbors(
                answer,
                include_attributes=include_attributes,
                include_metadata=include_metadata,
            )
            for answer in reply.answers
        }

    def models(self, *, timeout: float | None = None) -> tuple[ModelInfo, ...]:
        """The models served, and those that could not be loaded with the reason."""
        return self._models(self._until(timeout))

    def _models(self, until: float | None) -> tuple[ModelInfo, ...]:
        reply: pb.ListModelsReply = self._call(self._stub.ListModels, pb.ListModelsRequest(), until)
        return tuple(map(convert.model_info, reply.models))

    def _models_to_search(self, query: pb.Query, until: float | None) -> list[str]:
        """The models of a search that names none."""
        if query.HasField("vector"):
            raise ValueError("a vector belongs to one model's space: name it with model=")
        served = self._models(until)
        if query.HasField("payload"):
            ready = [
                info.name for info in served if info.state == "ready" and info.input == "image"
            ]
            if not ready:
                states = ", ".join(f"{info.name} ({info.state})" for info in served) or "none"
                raise ModelUnavailable(
                    f"no model that takes images is ready; the server has: {states}",
                    reason="model_unavailable",
                )
            return ready
        reply: pb.GetItemReply = self._call(
            self._stub.GetItem, pb.GetItemRequest(id=query.id), until
        )
        # An item may have vectors of versions that are no longer served.
        has = {(embedding.model, embedding.fingerprint) for embedding in reply.item.embeddings}
        current = [info.name for info in served if (info.name, info.fingerprint) in has]
        if not current:
            raise UnknownItem(
                f"item {query.id!r} has no vector of a model version served now",
                reason="unknown_item",
            )
        return current

    def _until(self, timeout: float | None) -> float | None:
        return _deadline(self._timeout if timeout is None else timeout)

    def _call(self, method: Callable[..., _Reply], request: object, until: float | None) -> _Reply:
        """Make one call that ends at `until` on the monotonic clock."""
        if self._closed:
            raise ClientClosed("this client is closed; open another", reason="client_closed")
        # Negative where the calls before this one used it up: gRPC then ends this one at once.
        timeout = None if until is None else until - time.monotonic()
        try:
            with translated(lambda: self._closed):
                return method(request, timeout=timeout)
        except ValueError as error:
            if not self._closed:
                raise
            # gRPC's word for a channel that another thread has closed just now
            raise ClientClosed("this client was closed", reason="client_closed") from error


def _deadline(timeout: float | None) -> float | None:
    """When on the monotonic clock a timeout that starts now is over; None: never."""
    if timeout is None or timeout == math.inf:
        return None
    if not timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds or None, not {timeout!r}")
    return time.monotonic() + timeout
