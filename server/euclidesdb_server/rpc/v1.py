"""The v1 API: euclidesdb.v1.FeatureDatabase. protos/README.md explains it call by call."""

from __future__ import annotations

import grpc
import numpy as np

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_protos.v1 import database_pb2_grpc
from euclidesdb_server.database import FeatureDatabase
from euclidesdb_server.errors import DimensionMismatch, InvalidRequest
from euclidesdb_server.rpc.call import GrpcCall
from euclidesdb_server.types import (
    AddRequest,
    FindRequest,
    Item,
    ModelAnswer,
    ModelState,
    ModelStatus,
    ModelVector,
    Neighbor,
    Payload,
    StoredEmbedding,
    Vector,
)

FLOAT32 = np.dtype("<f4")

STATES = {
    ModelState.LOADING: pb.MODEL_STATE_LOADING,
    ModelState.READY: pb.MODEL_STATE_READY,
    ModelState.RESTARTING: pb.MODEL_STATE_RESTARTING,
    ModelState.QUARANTINED: pb.MODEL_STATE_QUARANTINED,
}


class FeatureDatabaseService(database_pb2_grpc.FeatureDatabaseServicer):
    """Translates; errors are the interceptor's business."""

    def __init__(self, database: FeatureDatabase) -> None:
        self._database = database

    def AddItem(self, request: pb.AddItemRequest, context: grpc.ServicerContext) -> pb.AddItemReply:  # noqa: N802
        """See the proto."""
        add = AddRequest(
            id=request.id,
            payload=_payload(request.payload) if request.HasField("payload") else None,
            models=tuple(request.models),
            vectors={name: _vector(vector) for name, vector in request.vectors.items()},
            attributes_json=(
                request.attributes_json if request.HasField("attributes_json") else None
            ),
            metadata=request.metadata if request.HasField("metadata") else None,
        )
        written = self._database.add(add, GrpcCall(context))
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

    def GetItem(self, request: pb.GetItemRequest, context: grpc.ServicerContext) -> pb.GetItemReply:  # noqa: ARG002, N802
        """See the proto."""
        item = self._database.get(
            request.id,
            include_arrays=request.include_vectors or request.include_predictions,
            include_payload=request.include_payload,
        )
        return pb.GetItemReply(item=_item_message(item, request))

    def RemoveItem(  # noqa: N802
        self,
        request: pb.RemoveItemRequest,
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> pb.RemoveItemReply:
        """See the proto."""
        self._database.remove(request.id)
        return pb.RemoveItemReply()

    def FindSimilar(  # noqa: N802
        self, request: pb.FindSimilarRequest, context: grpc.ServicerContext
    ) -> pb.FindSimilarReply:
        """See the proto."""
        find = FindRequest(
            query=_query(request.query),
            models=tuple(request.models),
            top_k=request.top_k,
            include_self=request.include_self,
            include_attributes=request.include_attributes,
            include_metadata=request.include_metadata,
        )
        answers = self._database.find_similar(find, GrpcCall(context))
        return pb.FindSimilarReply(answers=[_answer_message(answer) for answer in answers])

    def ListModels(  # noqa: N802
        self,
        request: pb.ListModelsRequest,  # noqa: ARG002
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> pb.ListModelsReply:
        """See the proto."""
        return pb.ListModelsReply(
            models=[_model_message(status) for status in self._database.list_models()]
        )


def _payload(message: pb.Payload) -> Payload:
    kind = message.WhichOneof("content")
    if kind is None:
        raise InvalidRequest("payload has no content that this server knows")
    return Payload(kind, getattr(message, kind))


def _query(message: pb.Query) -> Payload | ModelVector | str:
    match message.WhichOneof("kind"):
        case "payload":
            return _payload(message.payload)
        case "vector":
            return _vector(message.vector)
        case "id":
            return message.id
        case _:
            raise InvalidRequest("query is none of payload, vector and id")


def _vector(message: pb.Vector) -> ModelVector:
    array = message.values
    if array.data_type != pb.DATA_TYPE_FLOAT32:
        raise InvalidRequest(f"a vector's data_type = {array.data_type} should be 1 (float32)")
    # before anything is computed from the shape: a hostile one has a million huge lengths
    if len(array.shape) != 1:
        raise DimensionMismatch(
            f"a vector's shape should be (feature_dim,), not of {len(array.shape)} dimensions: "
            f"({', '.join(map(str, array.shape[:4]))}{', ...' if len(array.shape) > 4 else ''})"
        )
    if array.shape[0] * FLOAT32.itemsize != len(array.data):
        raise InvalidRequest(
            f"a vector's {len(array.data)} bytes are not a float32 array of shape "
            f"({array.shape[0]},)"
        )
    return ModelVector(np.frombuffer(array.data, FLOAT32), message.fingerprint or None)


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


def _item_message(item: Item, request: pb.GetItemRequest) -> pb.Item:
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
        setattr(message.payload, item.payload.kind, item.payload.data)
    return message


def _answer_message(answer: ModelAnswer) -> pb.ModelAnswer:
    return pb.ModelAnswer(
        model=answer.model,
        fingerprint=answer.fingerprint,
        metric=str(answer.metric),
        neighbors=[_neighbor_message(neighbor) for neighbor in answer.neighbors],
    )


def _neighbor_message(neighbor: Neighbor) -> pb.Neighbor:
    return pb.Neighbor(
        id=neighbor.id,
        distance=neighbor.distance,
        attributes_json=neighbor.attributes_json,
        metadata=neighbor.metadata,
    )


def _model_message(status: ModelStatus) -> pb.Model:
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
    )
