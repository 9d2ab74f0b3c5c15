"""A v1 server on port 0 that gives scripted replies and records the requests it receives.

It produces the faults that a real server shows only by chance.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import grpc

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_protos.v1 import database_pb2_grpc as pb_grpc
from euclidesdb_protos.v1.wire import REASON_KEY


@dataclass(frozen=True)
class Fault:
    """An error that the server answers with; without a reason, as the transport itself does."""

    status: grpc.StatusCode
    reason: str | None = None
    message: str = "as scripted"


class Silence:
    """No answer: the call is held until its caller has given up."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.left = threading.Event()


class ScriptedServer(pb_grpc.FeatureDatabaseServicer):
    """Each method takes the next step of its script: a reply, a Fault, Silence, or a function from
    the request to one of these. The last step stays; without a script every call goes well.
    """

    def __init__(
        self, port: int = 0, max_message_bytes: int = 64 << 20, address: str | None = None
    ) -> None:
        self.requests: dict[str, list[Any]] = defaultdict(list)
        self.keys: dict[str, list[bytes]] = defaultdict(list)  # taken out of the requests
        self.seconds_left: dict[str, float] = {}  # of the last call's timeout
        self._scripts: dict[str, list[Any]] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(16, thread_name_prefix="scripted-server")
        self._server = grpc.server(
            self._pool, options=[("grpc.max_receive_message_length", max_message_bytes)]
        )
        pb_grpc.add_FeatureDatabaseServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(address or f"127.0.0.1:{port}")
        self._server.start()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def script(self, method: str, *steps: Any) -> None:
        self._scripts[method] = list(steps)

    def calls(self, method: str) -> int:
        with self._lock:
            return len(self.requests[method])

    def close(self) -> None:
        self._server.stop(grace=None).wait()
        self._pool.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def AddItem(self, request, context):  # noqa: N802  gRPC's name
        return self._answer("AddItem", request, context) or pb.AddItemReply()

    def AddItems(self, request, context):  # noqa: N802  gRPC's name
        return self._answer("AddItems", request, context) or pb.AddItemsReply(
            items=[pb.AddItemReply() for _ in request.items]
        )

    def AddVectors(self, request, context):  # noqa: N802  gRPC's name
        return self._answer("AddVectors", request, context) or pb.AddVectorsReply()

    def AddItemStream(self, requests, context):  # noqa: N802  gRPC's name
        items = (item for request in requests for item in request.items)
        for position, item in enumerate(items):
            yield self._answer("AddItemStream", item, context) or pb.AddItemStreamReply(
                position=position, outcomes=[pb.AddItemOutcome(added=pb.AddItemReply())]
            )

    def GetItem(self, request, context):  # noqa: N802  gRPC's name
        return self._answer("GetItem", request, context) or pb.GetItemReply()

    def GetItems(self, request, context):  # noqa: N802  gRPC's name
        return self._answer("GetItems", request, context) or pb.GetItemsReply(
            missing=range(len(request.ids))
        )

    def UpdateItem(self, request, context):  # noqa: N802  gRPC's name
        return self._answer("UpdateItem", request, context) or pb.UpdateItemReply()

    def RemoveItems(self, request, context):  # noqa: N802  gRPC's name
        return self._answer("RemoveItems", request, context) or pb.RemoveItemsReply(
            removed=len(request.ids)
        )

    def RemoveItem(self, request, context):  # noqa: N802  gRPC's name
        return self._answer("RemoveItem", request, context) or pb.RemoveItemReply()

    def FindSimilar(self, request, context):  # noqa: N802  gRPC's name
        return self._answer("FindSimilar", request, context) or pb.FindSimilarReply()

    def FindSimilarBatch(self, request, context):  # noqa: N802  gRPC's name
        return self._answer("FindSimilarBatch", request, context) or pb.FindSimilarBatchReply()

    def ListModels(self, request, context):  # noqa: N802  gRPC's name
        return self._answer("ListModels", request, context) or pb.ListModelsReply()

    def LoadModel(self, request, context):  # noqa: N802  gRPC's name
        return self._answer("LoadModel", request, context) or pb.LoadModelReply()

    def UnloadModel(self, request, context):  # noqa: N802  gRPC's name
        return self._answer("UnloadModel", request, context) or pb.UnloadModelReply()

    def DropModelVersion(self, request, context):  # noqa: N802  gRPC's name
        return self._answer("DropModelVersion", request, context) or pb.DropModelVersionReply()

    def _answer(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        for each in (request, *getattr(request, "items", ())):
            if getattr(each, "request_key", b""):
                self.keys[method].append(each.request_key)
                each.ClearField("request_key")
        with self._lock:
            self.requests[method].append(request)
            self.seconds_left[method] = context.time_remaining()
            steps = self._scripts.get(method, [None])
            step = steps.pop(0) if len(steps) > 1 else steps[0]
        if callable(step):
            step = step(request)
        if isinstance(step, Fault):
            if step.reason is not None:
                context.set_trailing_metadata(((REASON_KEY, step.reason),))
            context.abort(step.status, step.message)
        if isinstance(step, Silence):
            gone = threading.Event()
            if context.add_callback(gone.set):
                step.reached.set()
                gone.wait()
                step.left.set()
            context.abort(grpc.StatusCode.CANCELLED, "the caller has gone")
        return step
