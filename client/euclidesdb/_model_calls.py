"""`ModelCalls`: the operations that list models, and load, unload and drop them."""

from __future__ import annotations

from euclidesdb import _checks as checks
from euclidesdb import _replies as replies
from euclidesdb._connection import Connection
from euclidesdb._models import Models
from euclidesdb._operation import operation
from euclidesdb._stats import server_stats
from euclidesdb._stats_types import ServerStats
from euclidesdb._types import ModelInfo
from euclidesdb_protos.v1 import database_pb2 as pb


class ModelCalls:
    """A part of both clients, which have the connection."""

    _connection: Connection

    @operation
    async def models(self, *, timeout: float | None = None) -> Models:
        """List the models served, those that could not be loaded and why, and former versions."""
        return await listed_models(self._connection, timeout)

    @operation
    async def stats(self, *, timeout: float | None = None) -> ServerStats:
        """The numbers of the server: calls, models, disk and memory.

        Counts and histograms begin at 0 when the server starts, those of a model when it is
        loaded: two readings tell what happened in between.
        """
        connection = self._connection
        seconds = connection.call_timeout(timeout)
        return server_stats(await connection.call("Stats", pb.StatsRequest(), seconds))

    @operation
    async def load_model(self, folder: str, *, timeout: float | None = None) -> ModelInfo:
        """Serve a model folder, replacing the version of that model served before.

        The old version is served until the new one has been loaded and checked, and stays if that
        fails. Its vectors stay in a separate space: see `ModelInfo.state`.

        folder: its name in the server's models folder.
        timeout: seconds; None: ten times the client's.

        Returns the model's new state.
        Never retried: after Unavailable, DeadlineExceeded or Cancelled it may have been applied.
        Raises ModelRejected, and NotAllowed if the server's configuration forbids it.
        """
        request = pb.LoadModelRequest(folder=checks.text("folder", folder))
        return await _load(self._connection, request, timeout)

    @operation
    async def reload_model(self, name: str, *, timeout: float | None = None) -> ModelInfo:
        """Load again the folder that a model was loaded from, as `load_model` does.

        Raises UnknownModel in addition.
        """
        request = pb.LoadModelRequest(name=checks.text("name", name))
        return await _load(self._connection, request, timeout)

    @operation
    async def unload_model(self, name: str, *, timeout: float | None = None) -> None:
        """Stop serving a model. Requests that it has accepted are answered; its vectors stay.

        timeout: seconds; None: ten times the client's, as the call waits for a load in progress.

        Never retried, like `load_model`. Raises UnknownModel, ModelUnavailable, NotAllowed.
        """
        request = pb.UnloadModelRequest(name=checks.text("name", name))
        connection = self._connection
        await connection.call("UnloadModel", request, connection.bulk_timeout(timeout))

    @operation
    async def drop_model_version(self, name: str, *, timeout: float | None = None) -> None:
        """Delete a former version of a model with all its vectors. Items stay, with the rest.

        When this returns, the version is gone, even if the server crashes; its disk space is freed
        in the background. An item that has no other vector stays, too, with its attributes, its
        metadata and what was kept of its image, text or tensor.

        name: "model@fingerprint", as `models` lists it.
        timeout: seconds; None: ten times the client's, as the call waits for a load in progress.

        Never retried, like `load_model`. Raises UnknownModel, InvalidRequest if the version is in
        service, NotAllowed.
        """
        request = pb.DropModelVersionRequest(name=checks.text("name", name))
        connection = self._connection
        await connection.call("DropModelVersion", request, connection.bulk_timeout(timeout))


async def listed_models(connection: Connection, timeout: float | None) -> Models:
    """As `Client.models`."""
    reply: pb.ListModelsReply = await connection.call(
        "ListModels", pb.ListModelsRequest(), connection.call_timeout(timeout)
    )
    return Models(map(replies.model_info, reply.models))


async def _load(
    connection: Connection, request: pb.LoadModelRequest, timeout: float | None
) -> ModelInfo:
    reply: pb.LoadModelReply = await connection.call(
        "LoadModel", request, connection.bulk_timeout(timeout)
    )
    return replies.model_info(reply.model)
