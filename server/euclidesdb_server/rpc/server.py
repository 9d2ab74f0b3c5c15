"""RpcServer: the gRPC server of one database, both services on one port."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc

from euclidesdb_protos.legacy import euclidesproto_pb2_grpc
from euclidesdb_protos.v1 import database_pb2_grpc
from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.database.feature_database import FeatureDatabase
from euclidesdb_server.database.model_lifecycle import ModelLifecycle
from euclidesdb_server.errors import ConfigError
from euclidesdb_server.rpc.interceptor import ErrorInterceptor
from euclidesdb_server.rpc.legacy import SimilarService
from euclidesdb_server.rpc.v1 import FeatureDatabaseService

WAITING_PER_THREAD: Final = 16
"""Calls beyond this wait for no thread: they get RESOURCE_EXHAUSTED at once."""

log = logging.getLogger(__name__)


class RpcServer:
    """Serves from when it is made until `close`.

    The synchronous server with a pool of threads: LevelDB, faiss and waiting for a model block
    and release the GIL, and a stack trace reads as a story.

    address: where it listens, with the port it got where the configuration says 0.
    """

    def __init__(
        self,
        database: FeatureDatabase,
        models: ModelLifecycle,
        config: ServerConfig,
        stop: Callable[[], None],
    ) -> None:
        """Listen. stop: what a permitted `Shutdown` call does. Raises ConfigError."""
        self._grace = config.shutdown_grace
        self._threads = ThreadPoolExecutor(config.threads, thread_name_prefix="call")
        self._server = grpc.server(
            self._threads,
            interceptors=[ErrorInterceptor()],
            maximum_concurrent_rpcs=WAITING_PER_THREAD * config.threads,
            options=[
                ("grpc.max_receive_message_length", config.max_message_bytes),
                ("grpc.max_send_message_length", -1),
                # two servers on one port would share its calls
                ("grpc.so_reuseport", 0),
            ],
        )
        local = is_loopback(config.address)
        permitted, changes = config.allow_remote_shutdown, config.allow_model_changes
        legacy = SimilarService(
            database,
            stop,
            may_stop=local if permitted is None else permitted,
            may_refresh=permitted is not False,
        )
        v1 = FeatureDatabaseService(
            database, models, may_change_models=local if changes is None else changes
        )
        # generated without types
        euclidesproto_pb2_grpc.add_SimilarServicer_to_server(legacy, self._server)  # type: ignore[no-untyped-call]
        database_pb2_grpc.add_FeatureDatabaseServicer_to_server(v1, self._server)  # type: ignore[no-untyped-call]
        self.address = self._bind(config.address)
        self._server.start()

    def close(self) -> None:
        """Refuse new calls with UNAVAILABLE and let running ones finish, for `shutdown_grace`."""
        log.info("stopping: running calls have %g s to finish", self._grace)
        self._server.stop(self._grace).wait()
        # not waited for: a call past its grace may wait for a model, which is closed after this
        self._threads.shutdown(wait=False)

    def _bind(self, address: str) -> str:
        told = address.rpartition(":")[2]
        if not address.startswith("unix:") and not (told.isdecimal() and int(told) < 1 << 16):
            # gRPC would take it modulo 65536
            raise ConfigError(f"[server] address = {address!r}: the port should be 0 to 65535")
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise ConfigError(
                f"[server] address: cannot listen on {address!r}: is the port in use?"
            ) from error
        if address.startswith("unix:"):
            return address
        return f"{address.rpartition(':')[0]}:{port}"


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a server at the address."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
