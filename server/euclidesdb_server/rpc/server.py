"""RpcServer: the gRPC server of one database, with both services on one port."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc

from euclidesdb_protos.legacy import euclidesproto_pb2_grpc
from euclidesdb_protos.v1 import database_pb2_grpc
from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.database import FeatureDatabase, ModelLifecycle
from euclidesdb_server.errors import ConfigError
from euclidesdb_server.rpc.interceptor import ErrorInterceptor
from euclidesdb_server.rpc.legacy import SimilarService
from euclidesdb_server.rpc.listening import check_address, is_loopback, listen_address
from euclidesdb_server.rpc.v1 import FeatureDatabaseService

WAITING_PER_THREAD: Final = 16
"""Calls that may wait for a thread; one more gets RESOURCE_EXHAUSTED at once."""

log = logging.getLogger(__name__)


class RpcServer:
    """Serves from construction until `close`.

    The synchronous server with a pool of threads: LevelDB, faiss and waiting for a model all
    block and release the GIL.

    address: what it listens on; with the actual port if the configuration says port 0.
    """

    def __init__(
        self,
        database: FeatureDatabase,
        models: ModelLifecycle,
        config: ServerConfig,
        stop: Callable[[], None],
    ) -> None:
        """Start listening. stop: called by a permitted `Shutdown` call. Raises ConfigError."""
        self._grace = config.shutdown_grace
        self._threads = ThreadPoolExecutor(config.threads, thread_name_prefix="call")
        self._server = grpc.server(
            self._threads,
            interceptors=[ErrorInterceptor()],
            maximum_concurrent_rpcs=WAITING_PER_THREAD * config.threads,
            options=[
                ("grpc.max_receive_message_length", config.max_message_bytes),
                ("grpc.max_send_message_length", -1),
                # otherwise two servers could share a port, and its calls
                ("grpc.so_reuseport", 0),
            ],
        )
        local = is_loopback(listen_address(config.address))
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
        # the generated code has no types
        euclidesproto_pb2_grpc.add_SimilarServicer_to_server(legacy, self._server)  # type: ignore[no-untyped-call]
        database_pb2_grpc.add_FeatureDatabaseServicer_to_server(v1, self._server)  # type: ignore[no-untyped-call]
        self.address = self._bind(config.address)
        self._server.start()

    def close(self) -> None:
        """Refuse new calls with UNAVAILABLE; running ones get `shutdown_grace` s to finish."""
        log.info("stopping: running calls have %g s to finish", self._grace)
        self._server.stop(self._grace).wait()
        # without waiting: a call past its grace may wait for a model, which is closed later
        self._threads.shutdown(wait=False)

    def _bind(self, address: str) -> str:
        address = listen_address(address)
        check_address(address)  # again: models have been loaded since the start
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise ConfigError(f"[server] address: cannot listen on {address!r}: {error}") from error
        if address.startswith("unix:"):
            return address
        return f"{address.rpartition(':')[0]}:{port}"
