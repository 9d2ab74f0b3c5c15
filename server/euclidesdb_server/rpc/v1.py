"""The v1 API: euclidesdb.v1.FeatureDatabase. protos/README.md explains it call by call."""

from __future__ import annotations

import grpc

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_protos.v1 import database_pb2_grpc
from euclidesdb_server.database.feature_database import FeatureDatabase
from euclidesdb_server.database.model_lifecycle import ModelLifecycle
from euclidesdb_server.database.requests import FindRequest
from euclidesdb_server.errors import DatabaseError, InvalidRequest, NotAllowed
from euclidesdb_server.rpc import messages
from euclidesdb_server.rpc.call import GrpcCall


class FeatureDatabaseService(database_pb2_grpc.FeatureDatabaseServicer):
    """Translates; errors are the interceptor's business.

    may_change_models: whether calls may load and unload models.
    """

    def __init__(
        self, database: FeatureDatabase, models: ModelLifecycle, *, may_change_models: bool
    ) -> None:
        self._database = database
        self._models = models
        self._may_change_models = may_change_models

    def AddItem(self, request: pb.AddItemRequest, context: grpc.ServicerContext) -> pb.AddItemReply:  # noqa: N802
        """See the proto."""
        written = self._database.add(messages.add_request(request), GrpcCall(context))
        return messages.add_item_reply(request, written)

    def AddItems(  # noqa: N802
        self, request: pb.AddItemsRequest, context: grpc.ServicerContext
    ) -> pb.AddItemsReply:
        """See the proto."""
        adds = messages.add_requests(request)
        outcomes = iter(
            self._database.add_many(
                [add for add in adds if not isinstance(add, DatabaseError)], GrpcCall(context)
            )
        )
        reply = pb.AddItemsReply()
        for position, (item, add) in enumerate(zip(request.items, adds, strict=True)):
            outcome = add if isinstance(add, DatabaseError) else next(outcomes)
            if isinstance(outcome, DatabaseError):
                reply.items.add()
                reply.refused.append(messages.refusal(position, outcome))
            else:
                reply.items.append(messages.add_item_reply(item, outcome))
        return reply

    def AddVectors(  # noqa: N802
        self,
        request: pb.AddVectorsRequest,
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> pb.AddVectorsReply:
        """See the proto."""
        refused = self._database.add_vectors(messages.add_vectors_request(request))
        return pb.AddVectorsReply(
            refused=[messages.refusal(position, error) for position, error in refused]
        )

    def GetItem(self, request: pb.GetItemRequest, context: grpc.ServicerContext) -> pb.GetItemReply:  # noqa: ARG002, N802
        """See the proto."""
        item = self._database.get(
            request.id,
            include_arrays=request.include_vectors or request.include_predictions,
            include_payload=request.include_payload,
        )
        return pb.GetItemReply(item=messages.item_message(item, request))

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
            [messages.query(request.query)], tuple(request.models), messages.conditions(request)
        )
        answers = self._database.find_similar(find, GrpcCall(context))
        return pb.FindSimilarReply(answers=[messages.answer_message(answer) for answer in answers])

    def FindSimilarBatch(  # noqa: N802
        self, request: pb.FindSimilarBatchRequest, context: grpc.ServicerContext
    ) -> pb.FindSimilarBatchReply:
        """See the proto."""
        queries, unreadable = messages.queries(request)
        find = FindRequest(queries, tuple(request.models), messages.conditions(request))
        answers = self._database.find_similar(find, GrpcCall(context))
        return pb.FindSimilarBatchReply(
            answers=[messages.batch_answer_message(answer, unreadable) for answer in answers]
        )

    def ListModels(  # noqa: N802
        self,
        request: pb.ListModelsRequest,  # noqa: ARG002
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> pb.ListModelsReply:
        """See the proto."""
        return pb.ListModelsReply(
            models=[messages.model_message(status) for status in self._database.list_models()]
        )

    def LoadModel(  # noqa: N802
        self, request: pb.LoadModelRequest, context: grpc.ServicerContext
    ) -> pb.LoadModelReply:
        """See the proto."""
        self._check_model_changes()
        if bool(request.folder) == bool(request.name):
            raise InvalidRequest("give either the folder to load, or the name of a model to reload")
        load = self._models.load if request.folder else self._models.reload
        status = load(request.folder or request.name, GrpcCall(context))
        return pb.LoadModelReply(model=messages.model_message(status))

    def UnloadModel(  # noqa: N802
        self,
        request: pb.UnloadModelRequest,
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> pb.UnloadModelReply:
        """See the proto."""
        self._check_model_changes()
        self._models.unload(request.name)
        return pb.UnloadModelReply()

    def _check_model_changes(self) -> None:
        if not self._may_change_models:
            raise NotAllowed(
                "models may not be loaded or unloaded by a call: [server] allow_model_changes"
            )
