"""The v1 API: euclidesdb.v1.FeatureDatabase. docs/api.md explains it call by call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.database import (
    EmbeddingJobs,
    FeatureDatabase,
    ItemQueries,
    ModelLifecycle,
)
from euclidesdb_server.database.add_stream import add_stream
from euclidesdb_server.database.backups import Backups
from euclidesdb_server.database.requests import Call, FindRequest
from euclidesdb_server.errors import InvalidRequest, NotAllowed
from euclidesdb_server.monitoring.stats import ServerStats
from euclidesdb_server.rpc import v1_replies as replies
from euclidesdb_server.rpc import v1_requests as requests
from euclidesdb_server.rpc import v1_searches as searches
from euclidesdb_server.rpc.request_stream import RequestStream
from euclidesdb_server.rpc.v1_add_stream import AddRequests, add_item_stream_replies
from euclidesdb_server.rpc.v1_backup import backup_stream
from euclidesdb_server.rpc.v1_jobs import JobCalls
from euclidesdb_server.rpc.v1_stats import stats_message


class FeatureDatabaseService(JobCalls):
    """Translates between messages and the database.

    backups: None: calls may not back up. stats: the numbers of the server. may_change_models:
    whether calls may load, unload and drop models.
    """

    def __init__(
        self,
        database: FeatureDatabase,
        queries: ItemQueries,
        models: ModelLifecycle,
        *,
        jobs: EmbeddingJobs,
        backups: Backups | None,
        stats: Callable[[], ServerStats],
        may_change_models: bool,
    ) -> None:
        super().__init__(database, queries, jobs)
        self._database = database
        self._models = models
        self._backups = backups
        self._stats = stats
        self._may_change_models = may_change_models

    def is_quick(self, request: Any) -> bool:
        """As `Service.is_quick`."""
        if isinstance(request, pb.AddItemRequest):
            return self._database.adds_quickly()
        return (
            isinstance(request, pb.FindSimilarRequest)
            and request.query.WhichOneof("kind") in ("id", "vector", "payload")
            # what may be large, or take several searches
            and not (request.include_attributes or request.include_metadata)
            and not request.HasField("max_distance")
            and not request.HasField("options")
            and self._database.searches_quickly(request.models, request.top_k)
        )

    async def AddItem(self, request: pb.AddItemRequest, call: Call) -> pb.AddItemReply:  # noqa: N802
        """See the proto."""
        written = await self._database.add(requests.add_request(request), call)
        return replies.add_item_reply(request, written)

    async def AddItems(  # noqa: N802
        self, request: pb.AddItemsRequest, call: Call
    ) -> pb.AddItemsReply:
        """See the proto."""
        outcomes = await self._database.add_many(requests.add_requests(request), call)
        return replies.add_items_reply(request, outcomes)

    async def AddItemStream(  # noqa: N802
        self, stream: RequestStream, call: Call
    ) -> AsyncGenerator[pb.AddItemStreamReply, None]:
        """See the proto."""
        source = AddRequests(stream)
        async with aclosing(add_stream(source, self._database.add_many, call)) as outcomes:
            position = 0
            async for items, written in outcomes:
                for reply in add_item_stream_replies(position, items, written):
                    yield reply
                position += len(items)

    def AddVectors(  # noqa: N802
        self,
        request: pb.AddVectorsRequest,
        call: Call,  # noqa: ARG002
    ) -> pb.AddVectorsReply:
        """See the proto."""
        outcomes = self._database.add_vectors(requests.add_vectors_request(request))
        return replies.add_vectors_reply(outcomes)

    def Backup(  # noqa: N802
        self,
        stream: RequestStream,
        call: Call,  # noqa: ARG002
    ) -> AsyncGenerator[pb.BackupReply, None]:
        """See the proto."""
        if self._backups is None:
            raise NotAllowed("backups are not allowed here; see [server] allow_backups")
        return backup_stream(self._backups, stream)

    def GetItem(self, request: pb.GetItemRequest, call: Call) -> pb.GetItemReply:  # noqa: ARG002, N802
        """See the proto."""
        item = self._database.get(request.id, requests.included(request))
        return replies.get_item_reply(request, item)

    def GetItems(  # noqa: N802
        self, request: pb.GetItemsRequest, call: Call
    ) -> pb.GetItemsReply:
        """See the proto."""
        ids = requests.item_ids(request)
        outcomes = self._database.get_many(ids, requests.included(request), call)
        return replies.get_items_reply(request, outcomes)

    def UpdateItem(  # noqa: N802
        self,
        request: pb.UpdateItemRequest,
        call: Call,  # noqa: ARG002
    ) -> pb.UpdateItemReply:
        """See the proto."""
        attributes_json = self._database.update(requests.update_request(request))
        return pb.UpdateItemReply(attributes_json=attributes_json)

    def RemoveItems(  # noqa: N802
        self, request: pb.RemoveItemsRequest, call: Call
    ) -> pb.RemoveItemsReply:
        """See the proto."""
        if request.HasField("filter"):
            if request.ids:
                raise InvalidRequest("ids and filter are both set; set one of them")
            if request.request_key:
                raise InvalidRequest("request_key is set with a filter; set it with ids alone")
            return self.remove_matching(request, call)
        ids = requests.item_ids(request)
        removal = self._database.remove_many(
            ids, dry_run=request.dry_run, request_key=request.request_key
        )
        return replies.remove_items_reply(removal)

    def RemoveItem(  # noqa: N802
        self,
        request: pb.RemoveItemRequest,
        call: Call,  # noqa: ARG002
    ) -> pb.RemoveItemReply:
        """See the proto."""
        self._database.remove(request.id, request.request_key)
        return pb.RemoveItemReply()

    async def FindSimilar(  # noqa: N802
        self, request: pb.FindSimilarRequest, call: Call
    ) -> pb.FindSimilarReply:
        """See the proto."""
        find = searches.find_request(request, self._fields)
        reply = replies.find_reply(await self._database.find_similar(find, call))
        reply.unknown_fields.extend(self._unknown_in(find, call))
        return reply

    async def FindSimilarBatch(  # noqa: N802
        self, request: pb.FindSimilarBatchRequest, call: Call
    ) -> pb.FindSimilarBatchReply:
        """See the proto."""
        find = searches.batch_find_request(request, self._fields)
        reply = replies.batch_find_reply(await self._database.find_similar(find, call))
        reply.unknown_fields.extend(self._unknown_in(find, call))
        return reply

    def _unknown_in(self, find: FindRequest, call: Call) -> list[pb.UnknownField]:
        group_by = find.conditions.options.group_by
        field = None if group_by is None else group_by.field
        return self.unknown_fields(find.conditions.filter, call, field)

    def ListModels(  # noqa: N802
        self,
        request: pb.ListModelsRequest,  # noqa: ARG002
        call: Call,  # noqa: ARG002
    ) -> pb.ListModelsReply:
        """See the proto."""
        statuses = self._database.list_models()
        return pb.ListModelsReply(models=[replies.model_message(status) for status in statuses])

    def Stats(  # noqa: N802
        self,
        request: pb.StatsRequest,  # noqa: ARG002
        call: Call,  # noqa: ARG002
    ) -> pb.StatsReply:
        """See the proto."""
        return stats_message(self._stats())

    def LoadModel(  # noqa: N802
        self, request: pb.LoadModelRequest, call: Call
    ) -> pb.LoadModelReply:
        """See the proto."""
        self._check_model_changes()
        if bool(request.folder) == bool(request.name):
            raise InvalidRequest("set either folder, to load it, or name, to reload that model")
        load = self._models.load if request.folder else self._models.reload
        status = load(request.folder or request.name, call)
        return pb.LoadModelReply(model=replies.model_message(status))

    def UnloadModel(  # noqa: N802
        self,
        request: pb.UnloadModelRequest,
        call: Call,  # noqa: ARG002
    ) -> pb.UnloadModelReply:
        """See the proto."""
        self._check_model_changes()
        self._models.unload(request.name)
        return pb.UnloadModelReply()

    def DropModelVersion(  # noqa: N802
        self,
        request: pb.DropModelVersionRequest,
        call: Call,  # noqa: ARG002
    ) -> pb.DropModelVersionReply:
        """See the proto."""
        self._check_model_changes()
        self._models.drop(request.name)
        return pb.DropModelVersionReply()

    def _check_model_changes(self) -> None:
        if not self._may_change_models:
            raise NotAllowed(
                "loading, unloading and dropping models is not allowed here; see [server] "
                "allow_model_changes"
            )
