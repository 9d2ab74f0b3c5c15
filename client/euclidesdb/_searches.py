"""The requests of searches: one query or many, and the models where a search names none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy.typing as npt

from euclidesdb import _arrays as arrays
from euclidesdb import _convert as convert
from euclidesdb import _payloads as payloads
from euclidesdb._connection import Connection
from euclidesdb._errors import ModelUnavailable, UnknownItem
from euclidesdb._images import is_image
from euclidesdb._types import ModelInfo, ModelVector
from euclidesdb_protos.v1 import database_pb2 as pb

KINDS: Final = {"images": "image", "texts": "text", "tensors": "tensor"}
"""The kind of raw item that each argument holds."""
PAYLOADS_PER_CALL: Final = {"image": 64, "text": 128, "tensor": 64}
BYTES_PER_CALL: Final = 8 << 20
"""Of raw items or vectors. A request may have 64 MiB by default."""
QUERIES_PER_CALL: Final = 1024
"""Of vectors and ids; 4 MiB of vectors of 1,024 dimensions."""
NEIGHBORS_PER_CALL: Final = 200_000
"""Some 10 MB of reply, without attributes and metadata."""


@dataclass(frozen=True, slots=True)
class QueryBatch:
    """What one call asks.

    queries: how many were given, those included that cannot be sent.
    unsent: why those cannot be sent, by position among the batch's queries.
    """

    request: pb.FindSimilarBatchRequest
    queries: int
    unsent: Mapping[int, Exception] = field(default_factory=dict)


def write_query(query: pb.Query, arguments: Mapping[str, Any], fingerprint: str | None) -> None:
    """Put the one of `arguments` (a raw item by its kind, `id`, `vector`) into `query`."""
    name, value = convert.exactly_one(arguments)
    if fingerprint is not None and (name != "vector" or isinstance(value, ModelVector)):
        raise ValueError("fingerprint goes with a vector, and a ModelVector has its own")
    if name == "vector":
        convert.write_vector(query.vector, value, fingerprint)
    elif name == "id":
        query.id = convert.text("id", value)
    else:
        payloads.write(query.payload, name, value)


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


def ready_for(kind: str, served: Sequence[ModelInfo]) -> list[str]:
    """The models that a raw item of that kind is searched with where none is named."""
    ready = [info.name for info in served if info.state == "ready" and info.input == kind]
    if not ready:
        states = ", ".join(f"{info.name} ({info.state})" for info in served) or "none"
        raise ModelUnavailable(
            f"no model that takes {kind}s is ready; the server has: {states}",
            reason="model_unavailable",
        )
    return ready


def models_to_search(connection: Connection, query: pb.Query, until: float | None) -> list[str]:
    """The models of a search that names none."""
    if query.HasField("vector"):
        raise ValueError("a vector belongs to one model's space: name it with model=")
    served = served_models(connection, until)
    if query.HasField("payload"):
        return ready_for(query.payload.WhichOneof("content"), served)
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
    conditions: pb.FindSimilarBatchRequest, name: str, queries: Any, fingerprint: str | None
) -> Iterator[QueryBatch]:
    """The queries by calls; `name` is the argument that they are. What cannot be sent is not."""
    at_most = max(1, NEIGHBORS_PER_CALL // max(1, conditions.top_k))
    if name == "vectors":
        return _by_vector(conditions, queries, fingerprint, min(QUERIES_PER_CALL, at_most))
    if name == "ids":
        return _by_id(conditions, convert.names("ids", queries), min(QUERIES_PER_CALL, at_most))
    kind = KINDS[name]
    if (
        isinstance(queries, str | bytes)
        or (kind == "image" and is_image(queries))
        or (kind == "tensor" and getattr(queries, "ndim", 2) < 2)  # of numpy, torch, ...
    ):
        raise TypeError(f"{name} must be several: [{kind}], not one {type(queries).__name__}")
    return _by_payload(conditions, kind, queries, min(PAYLOADS_PER_CALL[kind], at_most))


def _by_vector(
    conditions: pb.FindSimilarBatchRequest,
    vectors: npt.ArrayLike,
    fingerprint: str | None,
    at_most: int,
) -> Iterator[QueryBatch]:
    matrix = arrays.matrix("vectors", vectors)
    at_most = max(1, min(at_most, BYTES_PER_CALL // max(1, 4 * matrix.shape[1])))
    for start in range(0, len(matrix), at_most):
        rows = matrix[start : start + at_most]
        request = _copy(conditions)
        arrays.write_floats(request.vectors.values, rows)
        if fingerprint is not None:
            request.vectors.fingerprint = convert.text("fingerprint", fingerprint)
        yield QueryBatch(request, len(rows))


def _by_id(
    conditions: pb.FindSimilarBatchRequest, ids: Sequence[str], at_most: int
) -> Iterator[QueryBatch]:
    for start in range(0, len(ids), at_most):
        request = _copy(conditions)
        for id in ids[start : start + at_most]:  # noqa: A001  the database's word for it
            request.queries.add().id = id
        yield QueryBatch(request, len(request.queries))


def _by_payload(
    conditions: pb.FindSimilarBatchRequest, kind: str, values: Iterable[Any], at_most: int
) -> Iterator[QueryBatch]:
    request, size, queries, unsent = _copy(conditions), 0, 0, dict[int, Exception]()
    for value in values:
        query = _payload_query(kind, value)
        if isinstance(query, Exception):
            unsent[queries] = query
        else:
            sent, query_bytes = len(request.queries), query.ByteSize()
            if sent and (sent == at_most or size + query_bytes > BYTES_PER_CALL):
                yield QueryBatch(request, queries, unsent)
                request, size, queries, unsent = _copy(conditions), 0, 0, {}
            request.queries.append(query)
            size += query_bytes
        queries += 1
    if queries:
        yield QueryBatch(request, queries, unsent)


def _payload_query(kind: str, value: Any) -> pb.Query | Exception:
    """The query to send for a raw item, or why there is none."""
    query = pb.Query()
    try:
        payloads.write(query.payload, kind, value)
    except Exception as error:  # a broken image raises what its library likes
        return error
    return query


def _copy(conditions: pb.FindSimilarBatchRequest) -> pb.FindSimilarBatchRequest:
    request = pb.FindSimilarBatchRequest()
    request.CopyFrom(conditions)
    return request
