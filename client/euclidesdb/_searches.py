"""The requests of searches: one query or many, and the models where a search names none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy.typing as npt

from euclidesdb import _convert as convert
from euclidesdb._connection import Connection
from euclidesdb._errors import ModelUnavailable, UnknownItem
from euclidesdb._images import Image, encoded_image
from euclidesdb._types import ModelInfo, ModelVector
from euclidesdb_protos.v1 import database_pb2 as pb

IMAGES_PER_CALL: Final = 64
BYTES_PER_CALL: Final = 8 << 20
"""Of images. A request may have 64 MiB by default."""
QUERIES_PER_CALL: Final = 1024
"""Of vectors and ids; 4 MiB of vectors of 1,024 dimensions."""
NEIGHBORS_PER_CALL: Final = 200_000
"""Some 10 MB of reply, without attributes and metadata."""


def write_query(
    query: pb.Query,
    image: Image | None,
    id: str | None,  # noqa: A002  the database's word for it
    vector: npt.ArrayLike | ModelVector | None,
    fingerprint: str | None,
) -> None:
    """Put the one that is given into `query`."""
    if sum([image is not None, id is not None, vector is not None]) != 1:
        raise ValueError("give exactly one of image, id and vector")
    if fingerprint is not None and (vector is None or isinstance(vector, ModelVector)):
        raise ValueError("fingerprint goes with a vector, and a ModelVector has its own")
    if vector is not None:
        convert.write_vector(query.vector, vector, fingerprint)
    elif id is not None:
        query.id = convert.text("id", id)
    elif image is not None:
        query.payload.image = encoded_image(image)


def named_models(model: str | None, models: Sequence[str] | None) -> list[str] | None:
    """The models that a search names; None: none."""
    if model is not None and models is not None:
        raise ValueError("give model or models, not both")
    if model is not None:
        return [convert.text("model", model)]
    return None if models is None else convert.names("models", models)


def served_models(connection: Connection, until: float | None) -> tuple[ModelInfo, ...]:
    """The models that the server has."""
    reply: pb.ListModelsReply = connection.call(
        connection.stub.ListModels, pb.ListModelsRequest(), until
    )
    return tuple(map(convert.model_info, reply.models))


def ready_for_images(served: Sequence[ModelInfo]) -> list[str]:
    """The models that an image is searched with where none is named."""
    ready = [info.name for info in served if info.state == "ready" and info.input == "image"]
    if not ready:
        states = ", ".join(f"{info.name} ({info.state})" for info in served) or "none"
        raise ModelUnavailable(
            f"no model that takes images is ready; the server has: {states}",
            reason="model_unavailable",
        )
    return ready


def models_to_search(connection: Connection, query: pb.Query, until: float | None) -> list[str]:
    """The models of a search that names none."""
    if query.HasField("vector"):
        raise ValueError("a vector belongs to one model's space: name it with model=")
    served = served_models(connection, until)
    if query.HasField("payload"):
        return ready_for_images(served)
    reply: pb.GetItemReply = connection.call(
        connection.stub.GetItem, pb.GetItemRequest(id=query.id), until
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


def batches(
    conditions: pb.FindSimilarBatchRequest,
    images: Iterable[Image] | None,
    ids: Iterable[str] | None,
    vectors: npt.ArrayLike | None,
    fingerprint: str | None,
) -> Iterator[tuple[int, pb.FindSimilarBatchRequest]]:
    """The requests for the queries that are given, each with the number of its queries."""
    at_most = max(1, NEIGHBORS_PER_CALL // max(1, conditions.top_k))
    if vectors is not None:
        return _by_vector(conditions, vectors, fingerprint, min(QUERIES_PER_CALL, at_most))
    if ids is not None:
        return _by_id(conditions, convert.names("ids", ids), min(QUERIES_PER_CALL, at_most))
    return _by_image(conditions, images or (), min(IMAGES_PER_CALL, at_most))


def _by_vector(
    conditions: pb.FindSimilarBatchRequest,
    vectors: npt.ArrayLike,
    fingerprint: str | None,
    at_most: int,
) -> Iterator[tuple[int, pb.FindSimilarBatchRequest]]:
    matrix = convert.matrix("vectors", vectors)
    at_most = max(1, min(at_most, BYTES_PER_CALL // max(1, 4 * matrix.shape[1])))
    for start in range(0, len(matrix), at_most):
        rows = matrix[start : start + at_most]
        request = _copy(conditions)
        convert.write_array(request.vectors.values, rows)
        if fingerprint is not None:
            request.vectors.fingerprint = convert.text("fingerprint", fingerprint)
        yield len(rows), request


def _by_id(
    conditions: pb.FindSimilarBatchRequest, ids: Sequence[str], at_most: int
) -> Iterator[tuple[int, pb.FindSimilarBatchRequest]]:
    for start in range(0, len(ids), at_most):
        request = _copy(conditions)
        for id in ids[start : start + at_most]:  # noqa: A001  the database's word for it
            request.queries.add().id = id
        yield len(request.queries), request


def _by_image(
    conditions: pb.FindSimilarBatchRequest, images: Iterable[Image], at_most: int
) -> Iterator[tuple[int, pb.FindSimilarBatchRequest]]:
    request, size = _copy(conditions), 0
    for image in images:
        data = encoded_image(image)
        count = len(request.queries)
        if count and (count == at_most or size + len(data) > BYTES_PER_CALL):
            yield count, request
            request, size = _copy(conditions), 0
        request.queries.add().payload.image = data
        size += len(data)
    if request.queries:
        yield len(request.queries), request


def _copy(conditions: pb.FindSimilarBatchRequest) -> pb.FindSimilarBatchRequest:
    request = pb.FindSimilarBatchRequest()
    request.CopyFrom(conditions)
    return request
