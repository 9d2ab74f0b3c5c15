"""The legacy API: EuclidesDB's service `Similar`, for its existing clients.

Its int32 ids are our ids in decimal. Items with other ids have no name here: they are left out of
answers, which still have top_k neighbors if so many exist. Distances are those that EuclidesDB's
engines return (docs/api.md says how they map).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from euclidesdb_protos.legacy import euclidesproto_pb2 as pb
from euclidesdb_server.database import FeatureDatabase
from euclidesdb_server.database.requests import AddRequest, Call, Conditions, FindRequest
from euclidesdb_server.database.results import ModelAnswer, StoredEmbedding
from euclidesdb_server.errors import InvalidRequest, NotAllowed
from euclidesdb_server.values.metric import MetricKind
from euclidesdb_server.values.payload import Payload

STOP: Final = 0
REFRESH: Final = 1
"""Values of ShutdownRequest.shutdown_type. EuclidesDB's clients depend on them."""


class SimilarService:
    """Translates between messages and the database.

    stop: begins a graceful stop of the server and returns at once. may_stop, may_refresh: what
    `Shutdown` may do.
    """

    def __init__(
        self,
        database: FeatureDatabase,
        stop: Callable[[], None],
        *,
        may_stop: bool,
        may_refresh: bool,
    ) -> None:
        self._database = database
        self._stop = stop
        self._may_stop = may_stop
        self._may_refresh = may_refresh

    def is_quick(self, request: Any) -> bool:
        """As `Service.is_quick`."""
        if isinstance(request, pb.AddImageRequest):
            return self._database.adds_quickly()
        return isinstance(
            request, pb.FindSimilarImageByIdRequest | pb.FindSimilarImageRequest
        ) and self._database.searches_quickly(request.models, request.top_k)

    async def AddImage(  # noqa: N802
        self, request: pb.AddImageRequest, call: Call
    ) -> pb.AddImageReply:
        """See the proto."""
        add = AddRequest(
            id=str(request.image_id),
            payload=Payload("image", request.image_data),
            models=tuple(request.models),
            metadata=request.image_metadata,
            include_vectors=True,
            include_predictions=True,
            # the reply can only say that all models have answered
            all_or_nothing=True,
        )
        written = await self._database.add(add, call)
        return pb.AddImageReply(vectors=[_vectors_message(embedding) for embedding in written])

    async def FindSimilarImage(  # noqa: N802
        self, request: pb.FindSimilarImageRequest, call: Call
    ) -> pb.FindSimilarImageReply:
        """See the proto."""
        find = FindRequest(
            [Payload("image", request.image_data)],
            tuple(request.models),
            Conditions(request.top_k, int32_ids=True),
        )
        return await self._find(find, call)

    async def FindSimilarImageById(  # noqa: N802
        self, request: pb.FindSimilarImageByIdRequest, call: Call
    ) -> pb.FindSimilarImageReply:
        """See the proto."""
        find = FindRequest(
            [str(request.image_id)],
            tuple(request.models),
            Conditions(request.top_k, include_self=True, int32_ids=True),
        )
        return await self._find(find, call)

    def RemoveImage(  # noqa: N802
        self,
        request: pb.RemoveImageRequest,
        call: Call,  # noqa: ARG002
    ) -> pb.RemoveImageReply:
        """See the proto."""
        self._database.remove(str(request.image_id))
        return pb.RemoveImageReply(image_id=request.image_id)

    def Shutdown(  # noqa: N802
        self,
        request: pb.ShutdownRequest,
        call: Call,  # noqa: ARG002
    ) -> pb.ShutdownReply:
        """See the proto."""
        allowed = {STOP: self._may_stop, REFRESH: self._may_refresh}
        if request.shutdown_type not in allowed:
            raise InvalidRequest(
                f"shutdown_type = {request.shutdown_type} should be {STOP} (stop) or "
                f"{REFRESH} (refresh the index)"
            )
        if not allowed[request.shutdown_type]:
            raise NotAllowed(
                f"shutdown_type = {request.shutdown_type} is not allowed here: see [server] "
                "allow_remote_shutdown"
            )
        if request.shutdown_type == STOP:
            self._stop()
        else:
            self._database.compact()
        return pb.ShutdownReply(shutdown=True)

    async def _find(self, find: FindRequest, call: Call) -> pb.FindSimilarImageReply:
        answers = await self._database.find_similar(find, call)
        return pb.FindSimilarImageReply(results=[_results_message(answer) for answer in answers])


def euclidesdb_distance(distance: float, answer: ModelAnswer) -> float:
    """Our distance, converted to that of EuclidesDB's engine of the same name."""
    match answer.engine, answer.metric.kind:
        case "faiss", MetricKind.L2:
            return distance * distance
        case "faiss", MetricKind.INNER_PRODUCT:
            return -distance
        case "annoy", MetricKind.COSINE:
            return math.sqrt(2 * max(0.0, distance))
        case _:
            return distance


def _results_message(answer: ModelAnswer) -> pb.SearchResults:
    neighbors = answer.neighbors
    return pb.SearchResults(
        model=answer.model,
        top_k_ids=[int(item_id) for item_id in neighbors.ids],
        distances=[euclidesdb_distance(distance, answer) for distance in neighbors.distances],
    )


def _vectors_message(embedding: StoredEmbedding) -> pb.ItemVectors:
    return pb.ItemVectors(
        model=embedding.model, predictions=embedding.predictions, features=embedding.vector
    )
