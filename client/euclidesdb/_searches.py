"""The requests of searches: one query, or many in calls of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy.typing as npt

from euclidesdb import _arrays as arrays
from euclidesdb import _checks as checks
from euclidesdb._example_queries import write_examples
from euclidesdb._images import file_name
from euclidesdb._payloads import KINDS, KINDS_BY_PLURAL, PayloadKind
from euclidesdb._query_types import Examples
from euclidesdb._types import ModelVector
from euclidesdb_protos.v1 import database_pb2 as pb

BYTES_PER_CALL: Final = 8 << 20
"""Of raw items or vectors. The server accepts requests of 64 MiB by default."""
QUERIES_PER_CALL: Final = 1024
"""Vectors or ids; vectors of 1,024 dimensions then take 4 MiB."""
NEIGHBORS_PER_CALL: Final = 200_000
"""About 10 MB of reply, without attributes and metadata."""
VECTORS_PER_CALL: Final = 10_000
"""Returned with neighbors: of 1,024 dimensions they take 40 MiB."""
PAYLOADS_PER_CALL: Final = 200
"""Returned with neighbors: of 200 KiB they take 40 MiB."""
EXAMPLES_PER_CALL: Final = 64
"""Queries by examples."""


@dataclass(frozen=True, slots=True)
class QueryBatch:
    """The queries of one call.

    request: holds those queries that can be sent.
    queries: the number of queries, including those that cannot be sent.
    unsent: why a query cannot be sent, by its position in the batch.
    files: the names of the files of images, one for each query that can be sent.
    """

    request: pb.FindSimilarBatchRequest
    queries: int
    unsent: Mapping[int, Exception] = field(default_factory=dict)
    files: Sequence[str] = ()


def write_query(query: pb.Query, arguments: Mapping[str, Any], fingerprint: str | None) -> None:
    """Put the only given argument (a raw item by its kind, `id` or `vector`) into `query`."""
    name, value = checks.exactly_one(arguments)
    if fingerprint is not None and (name != "vector" or isinstance(value, ModelVector)):
        raise ValueError("fingerprint goes with a vector, and a ModelVector has its own")
    if name == "vector":
        arrays.write_vector(query.vector, value, fingerprint)
    elif name == "id":
        query.id = checks.item_id("id", value)
    elif name == "examples":
        write_examples(query.examples, value)
    else:
        KINDS[name].write(query.payload, value)


def named_models(model: str | None, models: Sequence[str] | None, given: str) -> list[str]:
    """The models that a search names; if it names none, the server chooses.

    given: the name of the argument that holds the query or queries.
    """
    if model is not None and models is not None:
        raise ValueError("give model or models, not both")
    if model is not None:
        return [checks.text("model", model)]
    if models is None:
        if given in ("vector", "vectors"):
            raise ValueError(f"{given} belongs to one model's space: name it with model=")
        return []
    named = checks.names("models", models)
    if not named:
        raise ValueError("models must not be empty; leave it out to let the server choose")
    return named


def batches(
    conditions: pb.FindSimilarBatchRequest, name: str, queries: Any, fingerprint: str | None
) -> Iterator[QueryBatch]:
    """The queries in batches.

    conditions: a request without queries. name: the argument that holds the queries.
    """
    limit = _queries_per_call(conditions)
    if name == "examples":
        if isinstance(queries, Examples):
            raise TypeError("examples must be an iterable of Examples, not a single one")
        return _by_message(conditions, name, queries, _example_query, min(EXAMPLES_PER_CALL, limit))
    if name == "vectors":
        return _by_vector(conditions, queries, fingerprint, min(QUERIES_PER_CALL, limit))
    if name == "ids":
        return _by_id(conditions, checks.item_ids("ids", queries), min(QUERIES_PER_CALL, limit))
    kind = KINDS_BY_PLURAL[name]
    if kind.is_single(queries):
        raise TypeError(
            f"{name} must be an iterable, such as [{kind.name}], not a single "
            f"{checks.shown(queries)}"
        )
    make = partial(_payload_query, kind)
    return _by_message(conditions, name, queries, make, min(kind.queries_per_call, limit))


def _queries_per_call(conditions: pb.FindSimilarBatchRequest) -> int:
    """So that a reply stays far below the server's limit, and so do the neighbors it ranks."""
    options, top_k = conditions.options, max(1, conditions.top_k)
    ranked = max(top_k + max(0, options.offset), options.diversity.candidates)
    limit = NEIGHBORS_PER_CALL // ranked
    if options.include_vectors or options.include_predictions:
        limit = min(limit, VECTORS_PER_CALL // top_k)
    if options.include_payload:
        limit = min(limit, PAYLOADS_PER_CALL // top_k)
    return max(1, limit)


def _by_vector(
    conditions: pb.FindSimilarBatchRequest,
    vectors: npt.ArrayLike,
    fingerprint: str | None,
    limit: int,
) -> Iterator[QueryBatch]:
    matrix = arrays.matrix("vectors", vectors)
    limit = max(1, min(limit, BYTES_PER_CALL // max(1, 4 * matrix.shape[1])))
    for start in range(0, len(matrix), limit):
        rows = matrix[start : start + limit]
        request = _copy(conditions)
        arrays.write_floats(request.vectors.values, rows)
        if fingerprint is not None:
            request.vectors.fingerprint = checks.text("fingerprint", fingerprint)
        yield QueryBatch(request, len(rows))


def _by_id(
    conditions: pb.FindSimilarBatchRequest, ids: Sequence[str], limit: int
) -> Iterator[QueryBatch]:
    for start in range(0, len(ids), limit):
        request = _copy(conditions)
        for id in ids[start : start + limit]:  # noqa: A001  the API's name for it
            request.queries.add().id = id
        yield QueryBatch(request, len(request.queries))


def _by_message(
    conditions: pb.FindSimilarBatchRequest,
    name: str,
    values: Iterable[Any],
    make: Callable[[Any], pb.Query],
    limit: int,
) -> Iterator[QueryBatch]:
    """make: the query of a value; whatever it raises is why the value cannot be sent."""
    request, size, queries, unsent = _copy(conditions), 0, 0, dict[int, Exception]()
    files: list[str] = []
    for value in checks.items(name, values, name):
        query = _made(make, value)
        if isinstance(query, Exception):
            unsent[queries] = query
        else:
            sent, query_bytes = len(request.queries), query.ByteSize()
            if sent and (sent == limit or size + query_bytes > BYTES_PER_CALL):
                yield QueryBatch(request, queries, unsent, files)
                request, size, queries, unsent, files = _copy(conditions), 0, 0, {}, []
            files.append(file_name(value) if name == "images" else "")
            request.queries.append(query)
            size += query_bytes
        queries += 1
    if queries:
        yield QueryBatch(request, queries, unsent, files)


def _made(make: Callable[[Any], pb.Query], value: Any) -> pb.Query | Exception:
    """The query of a value, or why it cannot be sent."""
    try:
        return make(value)
    except Exception as error:  # a broken image raises its library's own errors
        return error


def _payload_query(kind: PayloadKind, value: Any) -> pb.Query:
    query = pb.Query()
    kind.write(query.payload, value)
    return query


def _example_query(value: Any) -> pb.Query:
    query = pb.Query()
    write_examples(query.examples, value)
    return query


def _copy(conditions: pb.FindSimilarBatchRequest) -> pb.FindSimilarBatchRequest:
    request = pb.FindSimilarBatchRequest()
    request.CopyFrom(conditions)
    return request
