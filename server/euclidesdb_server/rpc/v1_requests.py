"""The messages of the v1 API as requests to the database.

Everything here raises InvalidRequest (or DimensionMismatch) for a message that cannot be read. One
of many items or queries that cannot be read becomes its own outcome: the error takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.database.item_import import ImportedEmbedding, ImportedItem
from euclidesdb_server.database.item_reads import Include
from euclidesdb_server.database.requests import (
    AddRequest,
    AddVectorsRequest,
    UpdateRequest,
)
from euclidesdb_server.errors import DatabaseError, InvalidRequest
from euclidesdb_server.rpc import payloads
from euclidesdb_server.rpc.repeated_fields import MAX_PER_CALL
from euclidesdb_server.rpc.v1_states import imported_failure
from euclidesdb_server.rpc.v1_vectors import matrix, model_vector, vector
from euclidesdb_server.values.vector_columns import VectorColumns

_Message = TypeVar("_Message")
_Value = TypeVar("_Value")


def add_request(request: pb.AddItemRequest) -> AddRequest:
    """One item to add."""
    return AddRequest(
        id=request.id,
        payload=payloads.read(request.payload) if request.HasField("payload") else None,
        models=tuple(request.models),
        vectors={name: model_vector(given) for name, given in request.vectors.items()},
        attributes_json=request.attributes_json if request.HasField("attributes_json") else None,
        metadata=request.metadata if request.HasField("metadata") else None,
        include_vectors=request.include_vectors,
        include_predictions=request.include_predictions,
        request_key=request.request_key,
    )


def add_requests(request: pb.AddItemsRequest) -> list[AddRequest | DatabaseError]:
    """Many items to add."""
    return each(add_request, request.items, "items")


def add_vectors_request(request: pb.AddVectorsRequest) -> AddVectorsRequest:
    """Many items with a ready-made vector each."""
    columns = VectorColumns(
        list(request.ids),
        matrix(request.vectors, "vectors"),
        list(request.attributes_json) or None,
        list(request.metadata) or None,
    )
    fingerprint = request.fingerprint or None
    return AddVectorsRequest(request.model, columns, fingerprint, request.request_key)


def imported_items(request: pb.ImportItemsRequest) -> list[ImportedItem | DatabaseError]:
    """Many items to store as they are."""
    return each(_imported_item, request.items, "items")


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
                vector(embedding.vector),
                vector(embedding.predictions) if embedding.HasField("predictions") else None,
                position in ready_made,
            )
            for position, embedding in enumerate(message.embeddings)
        ),
        payload=payloads.read(message.payload) if message.HasField("payload") else None,
        payload_digest=message.payload_digest,
        failures=tuple(map(imported_failure, message.failures)),
    )


def item_ids(request: pb.GetItemsRequest | pb.RemoveItemsRequest) -> Sequence[str]:
    """The ids of many items."""
    check_count(len(request.ids), "ids")
    if not request.ids:
        raise InvalidRequest("ids is empty: name at least one item")
    return list(request.ids)


def included(
    request: pb.GetItemRequest | pb.GetItemsRequest | pb.ListItemsRequest | pb.SampleItemsRequest,
) -> Include:
    """What to return of items."""
    return Include(
        request.include_vectors,
        request.include_predictions,
        request.include_payload,
        request.include_states,
    )


def update_request(request: pb.UpdateItemRequest) -> UpdateRequest:
    """A change of an item."""
    return UpdateRequest(
        request.id,
        request.attributes_json if request.HasField("attributes_json") else None,
        request.merge_json if request.HasField("merge_json") else None,
        tuple(request.remove_attributes),
        request.metadata if request.HasField("metadata") else None,
        request.request_key,
    )


def each(
    read: Callable[[_Message], _Value], messages: Sequence[_Message], name: str
) -> list[_Value | DatabaseError]:
    """What each of many messages holds, or why it cannot be read. name: of the messages.

    Raises InvalidRequest if there are too many.
    """
    check_count(len(messages), name)
    values: list[_Value | DatabaseError] = []
    for message in messages:
        try:
            values.append(read(message))
        except DatabaseError as error:
            values.append(error)
    return values


def check_count(count: int, name: str) -> None:
    """Raise InvalidRequest for more items, queries or examples than one call may have."""
    # each takes a thousand times the two bytes that an empty one has in the request
    if count > MAX_PER_CALL:
        raise InvalidRequest(f"{count} {name} in one call; the limit is {MAX_PER_CALL:,}")
