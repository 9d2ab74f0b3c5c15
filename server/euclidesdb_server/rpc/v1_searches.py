"""Searches in messages of the v1 API as requests to the database.

As in `v1_requests`, a query that cannot be read becomes its own outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.database.examples import error_of_example
from euclidesdb_server.database.requests import (
    Conditions,
    Example,
    Examples,
    FindRequest,
    ModelVectors,
    Query,
)
from euclidesdb_server.errors import DatabaseError, InvalidRequest
from euclidesdb_server.rpc import payloads
from euclidesdb_server.rpc.repeated_fields import MAX_PER_CALL
from euclidesdb_server.rpc.v1_fields import FieldResolver
from euclidesdb_server.rpc.v1_filters import filter_tree
from euclidesdb_server.rpc.v1_options import search_options
from euclidesdb_server.rpc.v1_requests import check_count, each
from euclidesdb_server.rpc.v1_vectors import matrix, model_vector

MAX_EXAMPLES: Final = 1000
"""In one query."""


def find_request(request: pb.FindSimilarRequest, fields: FieldResolver) -> FindRequest:
    """A search with one query."""
    return FindRequest([_query(request.query)], tuple(request.models), _conditions(request, fields))


def batch_find_request(request: pb.FindSimilarBatchRequest, fields: FieldResolver) -> FindRequest:
    """A search with many queries."""
    if request.options.fuse:
        raise InvalidRequest("options.fuse is for a single query: use FindSimilar")
    return FindRequest(_queries(request), tuple(request.models), _conditions(request, fields))


def _conditions(
    request: pb.FindSimilarRequest | pb.FindSimilarBatchRequest, fields: FieldResolver
) -> Conditions:
    return Conditions(
        top_k=request.top_k,
        include_self=request.include_self,
        include_attributes=request.include_attributes,
        include_metadata=request.include_metadata,
        max_distance=request.max_distance if request.HasField("max_distance") else None,
        options=search_options(request, fields),
        filter=filter_tree(request.options.filter, fields)
        if request.HasField("options") and request.options.HasField("filter")
        else None,
    )


def _queries(
    request: pb.FindSimilarBatchRequest,
) -> Sequence[Query | DatabaseError] | ModelVectors:
    if not request.HasField("vectors"):
        if len(request.queries) <= MAX_PER_CALL:
            _check_examples(request.queries)
        return each(_query, request.queries, "queries")
    if request.queries:
        raise InvalidRequest("queries and vectors are both set; set one of them")
    values = matrix(request.vectors.values, "vectors.values")
    return ModelVectors(values, request.vectors.fingerprint or None)


def _query(message: pb.Query) -> Query:
    match message.WhichOneof("kind"):
        case "payload":
            return payloads.read(message.payload)
        case "vector":
            return model_vector(message.vector)
        case "id":
            return message.id
        case "examples":
            return _examples(message.examples)
        case _:
            raise InvalidRequest("query is not set; set its payload, vector, id or examples")


def _check_examples(queries: Sequence[pb.Query]) -> None:
    """Raise InvalidRequest if the queries have too many examples in all."""
    count = sum(
        len(query.examples.positive) + len(query.examples.negative)
        for query in queries
        if query.WhichOneof("kind") == "examples"
    )
    check_count(count, "examples")


def _examples(message: pb.Examples) -> Examples:
    count = len(message.positive) + len(message.negative)
    if count > MAX_EXAMPLES:
        raise InvalidRequest(f"{count} examples in one query; the limit is {MAX_EXAMPLES:,}")
    if not message.positive:
        raise InvalidRequest("examples.positive is empty; give at least one")
    return Examples(
        tuple(_example(one, f"positive[{at}]") for at, one in enumerate(message.positive)),
        tuple(_example(one, f"negative[{at}]") for at, one in enumerate(message.negative)),
    )


def _example(message: pb.Example, name: str) -> Example:
    try:
        match message.WhichOneof("kind"):
            case "payload":
                return payloads.read(message.payload)
            case "vector":
                return model_vector(message.vector)
            case "id":
                return message.id
            case _:
                raise InvalidRequest("it is not set; set its payload, vector or id")
    except DatabaseError as error:
        raise error_of_example(f"examples.{name}", error) from error
