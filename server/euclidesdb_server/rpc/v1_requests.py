"""The messages of the v1 API as requests to the database.

Everything here raises InvalidRequest (or DimensionMismatch) for a message that cannot be read. One
of many items or queries that cannot be read becomes its own outcome: the error takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import numpy as np

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.database.examples import error_of_example
from euclidesdb_server.database.item_import import ImportedEmbedding, ImportedItem
from euclidesdb_server.database.item_reads import Include
from euclidesdb_server.database.requests import (
    AddRequest,
    AddVectorsRequest,
    Conditions,
    Example,
    Examples,
    FindRequest,
    ModelVector,
    ModelVectors,
    Query,
    UpdateRequest,
)
from euclidesdb_server.errors import DatabaseError, DimensionMismatch, InvalidRequest
from euclidesdb_server.rpc import arrays, payloads
from euclidesdb_server.rpc.request_stream import RequestStream
from euclidesdb_server.rpc.v1_fields import FieldResolver
from euclidesdb_server.rpc.v1_filters import filter_tree
from euclidesdb_server.rpc.v1_options import search_options
from euclidesdb_server.values.arrays import Matrix, Vector
from euclidesdb_server.values.vector_columns import VectorColumns

FLOAT32: Final = arrays.DTYPES[pb.DATA_TYPE_FLOAT32]

MAX_PER_CALL: Final = 100_000
"""Items, queries or examples in one call; those sent by columns are limited by the message's size
only."""
MAX_EXAMPLES: Final = 1000
"""In one query."""

_Message = TypeVar("_Message")
_Value = TypeVar("_Value")


def add_request(request: pb.AddItemRequest) -> AddRequest:
    """One item to add."""
    return AddRequest(
        id=request.id,
        payload=payloads.read(request.payload) if request.HasField("payload") else None,
        models=tuple(request.models),
        vectors={name: _model_vector(vector) for name, vector in request.vectors.items()},
        attributes_json=request.attributes_json if request.HasField("attributes_json") else None,
        metadata=request.metadata if request.HasField("metadata") else None,
        include_vectors=request.include_vectors,
        include_predictions=request.include_predictions,
    )


def add_requests(request: pb.AddItemsRequest) -> list[AddRequest | DatabaseError]:
    """Many items to add."""
    return _each(add_request, request.items, "items")


class AddRequests:
    """The items of a stream, as `add_stream` takes them; one that cannot be read is its error."""

    def __init__(self, stream: RequestStream) -> None:
        self.arrival = stream.arrival
        self.finished = stream.finished
        self.is_over = stream.is_over
        self._take = stream.take

    def take(self) -> tuple[AddRequest | DatabaseError, int] | None:
        """As `AddSource.take`."""
        taken = self._take()
        if taken is None:
            return None
        message, size = taken
        try:
            return add_request(message), size
        except DatabaseError as error:
            return error, size


def add_vectors_request(request: pb.AddVectorsRequest) -> AddVectorsRequest:
    """Many items with a ready-made vector each."""
    columns = VectorColumns(
        list(request.ids),
        _matrix(request.vectors, "vectors"),
        list(request.attributes_json) or None,
        list(request.metadata) or None,
    )
    return AddVectorsRequest(request.model, columns, request.fingerprint or None)


def imported_items(request: pb.ImportItemsRequest) -> list[ImportedItem | DatabaseError]:
    """Many items to store as they are."""
    return _each(_imported_item, request.items, "items")


def _imported_item(message: pb.ImportedItem) -> ImportedItem:
    count = len(message.embeddings)
    ready_made = {*message.ready_made}
    if odd := [position for position in ready_made if not 0 <= position < count]:
        raise InvalidRequest(f"ready_made names embedding {odd[0]} of {count}")
    return ImportedItem(
        id=message.id,
        attributes_json=message.attributes_json if message.HasField("attributes_json") else None,
        metadata=message.metadata if message.HasField("metadata") else None,
        embeddings=tuple(
            ImportedEmbedding(
                embedding.model,
                embedding.fingerprint or None,
                _vector(embedding.vector),
                _vector(embedding.predictions) if embedding.HasField("predictions") else None,
                position in ready_made,
            )
            for position, embedding in enumerate(message.embeddings)
        ),
        payload=payloads.read(message.payload) if message.HasField("payload") else None,
        payload_digest=message.payload_digest,
    )


def item_ids(request: pb.GetItemsRequest | pb.RemoveItemsRequest) -> Sequence[str]:
    """The ids of many items."""
    _check_count(len(request.ids), "ids")
    if not request.ids:
        raise InvalidRequest("ids is empty: name at least one item")
    return list(request.ids)


def included(
    request: pb.GetItemsRequest | pb.ListItemsRequest | pb.SampleItemsRequest,
) -> Include:
    """What to return of items."""
    return Include(request.include_vectors, request.include_predictions, request.include_payload)


def update_request(request: pb.UpdateItemRequest) -> UpdateRequest:
    """A change of an item."""
    return UpdateRequest(
        request.id,
        request.attributes_json if request.HasField("attributes_json") else None,
        request.merge_json if request.HasField("merge_json") else None,
        tuple(request.remove_attributes),
        request.metadata if request.HasField("metadata") else None,
    )


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
        return _each(_query, request.queries, "queries")
    if request.queries:
        raise InvalidRequest("queries and vectors are both set; set one of them")
    values = _matrix(request.vectors.values, "vectors.values")
    return ModelVectors(values, request.vectors.fingerprint or None)


def _query(message: pb.Query) -> Query:
    match message.WhichOneof("kind"):
        case "payload":
            return payloads.read(message.payload)
        case "vector":
            return _model_vector(message.vector)
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
    if count > MAX_PER_CALL:
        raise InvalidRequest(f"{count} examples in one call; the limit is {MAX_PER_CALL:,}")


def _examples(message: pb.Examples) -> Examples:
    count = len(message.positive) + len(message.negative)
    if count > MAX_EXAMPLES:
        raise InvalidRequest(f"{count} examples in one query; the limit is {MAX_EXAMPLES:,}")
    if not message.positive:
        raise InvalidRequest("examples.positive is empty; give at least one")
    return Examples(
        tuple(_example(each, f"positive[{at}]") for at, each in enumerate(message.positive)),
        tuple(_example(each, f"negative[{at}]") for at, each in enumerate(message.negative)),
    )


def _example(message: pb.Example, name: str) -> Example:
    try:
        match message.WhichOneof("kind"):
            case "payload":
                return payloads.read(message.payload)
            case "vector":
                return _model_vector(message.vector)
            case "id":
                return message.id
            case _:
                raise InvalidRequest("it is not set; set its payload, vector or id")
    except DatabaseError as error:
        raise error_of_example(f"examples.{name}", error) from error


def _each(
    read: Callable[[_Message], _Value], messages: Sequence[_Message], name: str
) -> list[_Value | DatabaseError]:
    _check_count(len(messages), name)
    values: list[_Value | DatabaseError] = []
    for message in messages:
        try:
            values.append(read(message))
        except DatabaseError as error:
            values.append(error)
    return values


def _check_count(count: int, name: str) -> None:
    # each takes a thousand times the two bytes that an empty one has in the request
    if count > MAX_PER_CALL:
        raise InvalidRequest(f"{count} {name} in one call; the limit is {MAX_PER_CALL:,}")


def _model_vector(message: pb.Vector) -> ModelVector:
    return ModelVector(_vector(message.values), message.fingerprint or None)


def _vector(array: pb.Array) -> Vector:
    shape, data = array.shape, array.data
    if array.data_type == pb.DATA_TYPE_FLOAT32 and len(shape) == 1 and len(data) == 4 * shape[0]:
        return np.frombuffer(data, FLOAT32)
    _check_data_type(array, "a vector")
    # before anything is computed from the shape: a hostile one has a million huge lengths
    if len(array.shape) != 1:
        raise DimensionMismatch(
            f"a vector should have shape (feature_dim,), not {arrays.shown(array)}"
        )
    return _floats(array, "a vector")


def _matrix(array: pb.Array, name: str) -> Matrix:
    _check_data_type(array, name)
    if len(array.shape) != 2:
        raise DimensionMismatch(
            f"{name} should have shape (n, feature_dim), not {arrays.shown(array)}"
        )
    if array.shape[0] < 0 or array.shape[1] < 1:
        raise DimensionMismatch(f"{name} has the impossible shape {arrays.shown(array)}")
    return _floats(array, name).reshape(array.shape[0], array.shape[1])


def _check_data_type(array: pb.Array, name: str) -> None:
    if array.data_type != pb.DATA_TYPE_FLOAT32:
        raise InvalidRequest(f"{name}: data_type = {array.data_type} should be 1 (float32)")


def _floats(array: pb.Array, name: str) -> Vector:
    return np.frombuffer(arrays.checked_bytes(array, name, FLOAT32), FLOAT32)
