"""Between the messages of the v1 API and the database's own values, both ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Final, TypeVar

import numpy as np

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.database.requests import (
    AddRequest,
    AddVectorsRequest,
    Conditions,
    ModelVector,
    ModelVectors,
    Query,
)
from euclidesdb_server.database.results import (
    Item,
    ModelAnswer,
    ModelStatus,
    Neighbor,
    Neighbors,
    StoredEmbedding,
)
from euclidesdb_server.errors import DatabaseError, DimensionMismatch, InvalidRequest
from euclidesdb_server.rpc import arrays, payloads
from euclidesdb_server.rpc.status import details_of, status_of
from euclidesdb_server.values.arrays import Matrix, Vector
from euclidesdb_server.values.status import IndexStatus, ModelState

FLOAT32 = np.dtype("<f4")

MAX_PER_CALL: Final = 100_000
"""Items or queries in one call, one by one; by columns only the message's size counts."""

STATES = {
    ModelState.LOADING: pb.MODEL_STATE_LOADING,
    ModelState.READY: pb.MODEL_STATE_READY,
    ModelState.RESTARTING: pb.MODEL_STATE_RESTARTING,
    ModelState.QUARANTINED: pb.MODEL_STATE_QUARANTINED,
    ModelState.UNLOADED: pb.MODEL_STATE_UNLOADED,
    ModelState.SUPERSEDED: pb.MODEL_STATE_SUPERSEDED,
}

NO_NEIGHBORS: Final = Neighbors((), ())

_Message = TypeVar("_Message")
_Value = TypeVar("_Value")


def readable(parse: Callable[[_Message], _Value], message: _Message) -> _Value | DatabaseError:
    """What `parse` makes of a message that is one of many; or why it cannot."""
    try:
        return parse(message)
    except DatabaseError as error:
        return error


def add_request(request: pb.AddItemRequest) -> AddRequest:
    """Raises InvalidRequest."""
    return AddRequest(
        id=request.id,
        payload=payloads.read(request.payload) if request.HasField("payload") else None,
        models=tuple(request.models),
        vectors={name: _vector(vector) for name, vector in request.vectors.items()},
        attributes_json=request.attributes_json if request.HasField("attributes_json") else None,
        metadata=request.metadata if request.HasField("metadata") else None,
    )


def add_requests(request: pb.AddItemsRequest) -> list[AddRequest | DatabaseError]:
    """The items, or why one cannot be read. Raises InvalidRequest where there are too many."""
    _check_count(len(request.items), "items")
    return [readable(add_request, item) for item in request.items]


def add_vectors_request(request: pb.AddVectorsRequest) -> AddVectorsRequest:
    """Raises InvalidRequest."""
    return AddVectorsRequest(
        request.model,
        list(request.ids),
        ModelVectors(_matrix(request.vectors, "vectors"), request.fingerprint or None),
        list(request.attributes_json) or None,
        list(request.metadata) or None,
    )


def conditions(request: pb.FindSimilarRequest | pb.FindSimilarBatchRequest) -> Conditions:
    """What is asked of each answer."""
    return Conditions(
        top_k=request.top_k,
        include_self=request.include_self,
        include_attributes=request.include_attributes,
        include_metadata=request.include_metadata,
        max_distance=request.max_distance if request.HasField("max_distance") else None,
    )


def query(message: pb.Query) -> Query:
    """Raises InvalidRequest."""
    match message.WhichOneof("kind"):
        case "payload":
            return payloads.read(message.payload)
        case "vector":
            return _vector(message.vector)
        case "id":
            return message.id
        case _:
            raise InvalidRequest("query is none of payload, vector and id")


def queries(
    request: pb.FindSimilarBatchRequest,
) -> tuple[Sequence[Query] | ModelVectors, dict[int, DatabaseError]]:
    """The queries that can be read; by position, why the others cannot.

    Raises InvalidRequest where none can.
    """
    _check_count(len(request.queries), "queries")
    if not request.HasField("vectors"):
        parsed = [readable(query, message) for message in request.queries]
        unreadable = {
            position: found
            for position, found in enumerate(parsed)
            if isinstance(found, DatabaseError)
        }
        return [found for found in parsed if not isinstance(found, DatabaseError)], unreadable
    if request.queries:
        raise InvalidRequest("queries and vectors are both set: give one of them")
    values = _matrix(request.vectors.values, "vectors.values")
    return ModelVectors(values, request.vectors.fingerprint or None), {}


def add_item_reply(
    request: pb.AddItemRequest, written: Sequence[StoredEmbedding]
) -> pb.AddItemReply:
    """What was written, as far as it was asked for."""
    return pb.AddItemReply(
        embeddings=[
            _embedding_message(
                embedding,
                vectors=request.include_vectors,
                predictions=request.include_predictions,
            )
            for embedding in written
        ]
    )


def refusal(position: int, error: Exception) -> pb.Refusal:
    """Why one item or query of a call was refused."""
    if not isinstance(error, DatabaseError):
        raise error
    code: tuple[int, str] = status_of(error).value
    return pb.Refusal(
        position=position, code=code[0], reason=error.reason, message=details_of(error)
    )


def item_message(item: Item, request: pb.GetItemRequest) -> pb.Item:
    """A stored item, as far as it was asked for."""
    message = pb.Item(
        id=item.id,
        attributes_json=item.attributes_json,
        metadata=item.metadata,
        embeddings=[
            _embedding_message(
                embedding, vectors=request.include_vectors, predictions=request.include_predictions
            )
            for embedding in item.embeddings
        ],
    )
    if item.payload is not None:
        message.payload.CopyFrom(payloads.message_of(item.payload))
    return message


def answer_message(answer: ModelAnswer) -> pb.ModelAnswer:
    """The answer to one query. Raises what it was refused with."""
    return pb.ModelAnswer(
        model=answer.model,
        fingerprint=answer.fingerprint,
        metric=str(answer.metric),
        neighbors=[_neighbor_message(neighbor) for neighbor in answer.neighbors],
    )


def batch_answer_message(
    answer: ModelAnswer, unreadable: dict[int, DatabaseError]
) -> pb.BatchAnswer:
    """The answers to many queries. unreadable: by position, those that were not searched for."""
    found = iter(answer.found)
    refused: list[pb.Refusal] = []
    answers: list[Neighbors] = []
    for position in range(len(answer.found) + len(unreadable)):
        neighbors = unreadable.get(position) or next(found)
        if isinstance(neighbors, Exception):
            refused.append(refusal(position, neighbors))
            neighbors = NO_NEIGHBORS
        answers.append(neighbors)
    # whole columns at once: a third of the time of extending them answer by answer
    return pb.BatchAnswer(
        model=answer.model,
        fingerprint=answer.fingerprint,
        metric=str(answer.metric),
        counts=[len(neighbors) for neighbors in answers],
        ids=chain.from_iterable(neighbors.ids for neighbors in answers),
        distances=chain.from_iterable(neighbors.distances for neighbors in answers),
        attributes_json=chain.from_iterable(
            neighbors.attributes_json or () for neighbors in answers
        ),
        metadata=chain.from_iterable(neighbors.metadata or () for neighbors in answers),
        refused=refused,
    )


def model_message(status: ModelStatus) -> pb.Model:
    """How a model stands."""
    return pb.Model(
        name=status.name,
        state=STATES[status.state],
        reason=status.reason,
        input=status.input,
        feature_dim=status.feature_dim,
        prediction_dim=status.prediction_dim,
        fingerprint=status.fingerprint,
        engine=status.engine,
        metric=status.metric,
        items=status.items,
        labels=status.labels,
        adopted=status.adopted,
        index=None if status.index is None else _index_message(status.index),
        items_run=status.items_run,
        batches_run=status.batches_run,
    )


def _index_message(status: IndexStatus) -> pb.Index:
    return pb.Index(
        description=status.description,
        indexed_rows=status.indexed_rows,
        unindexed_rows=status.unindexed_rows,
        building=status.building,
        recall=status.recall,
        recall_samples=status.recall_samples,
    )


def _vector(message: pb.Vector) -> ModelVector:
    _check_data_type(message.values, "a vector")
    # before anything is computed from the shape: a hostile one has a million huge lengths
    if len(message.values.shape) != 1:
        raise DimensionMismatch(
            f"a vector's shape should be (feature_dim,), not {arrays.shown(message.values)}"
        )
    return ModelVector(_floats(message.values, "a vector"), message.fingerprint or None)


def _matrix(array: pb.Array, name: str) -> Matrix:
    _check_data_type(array, name)
    if len(array.shape) != 2:
        raise DimensionMismatch(
            f"{name} should have shape (n, feature_dim), not {arrays.shown(array)}"
        )
    if array.shape[0] < 0 or array.shape[1] < 1:
        raise DimensionMismatch(f"{name} has the impossible shape {arrays.shown(array)}")
    return _floats(array, name).reshape(array.shape[0], array.shape[1])


def _check_count(count: int, name: str) -> None:
    # each takes a thousand times the two bytes that an empty one has in the request
    if count > MAX_PER_CALL:
        raise InvalidRequest(f"{count} {name} in one call: at most {MAX_PER_CALL:,}, please")


def _check_data_type(array: pb.Array, name: str) -> None:
    if array.data_type != pb.DATA_TYPE_FLOAT32:
        raise InvalidRequest(f"{name}: data_type = {array.data_type} should be 1 (float32)")


def _floats(array: pb.Array, name: str) -> Vector:
    return np.frombuffer(arrays.checked_bytes(array, name, FLOAT32), FLOAT32)


def _array_message(values: Vector) -> pb.Array:
    data = values.astype(FLOAT32, copy=False).tobytes()
    return pb.Array(data_type=pb.DATA_TYPE_FLOAT32, shape=values.shape, data=data)


def _embedding_message(
    embedding: StoredEmbedding, *, vectors: bool, predictions: bool
) -> pb.Embedding:
    message = pb.Embedding(model=embedding.model, fingerprint=embedding.fingerprint)
    if vectors and embedding.vector is not None:
        message.vector.CopyFrom(_array_message(embedding.vector))
    if predictions and embedding.predictions is not None:
        message.predictions.CopyFrom(_array_message(embedding.predictions))
    return message


def _neighbor_message(neighbor: Neighbor) -> pb.Neighbor:
    return pb.Neighbor(
        id=neighbor.id,
        distance=neighbor.distance,
        attributes_json=neighbor.attributes_json,
        metadata=neighbor.metadata,
    )
