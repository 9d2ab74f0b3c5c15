"""RpcServer: the gRPC server of one database, with all services on one port."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2

from euclidesdb_protos.legacy import euclidesproto_pb2
from euclidesdb_protos.v1 import database_pb2
from euclidesdb_server.access.certificates import Certificates
from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.database import EmbeddingJobs, FeatureDatabase, ItemQueries, ModelLifecycle
from euclidesdb_server.database.backups import Backups
from euclidesdb_server.monitoring.stats import DatabaseStats, ServerStats
from euclidesdb_server.rpc.access import Access
from euclidesdb_server.rpc.call_measures import CallObserver
from euclidesdb_server.rpc.health import HealthService
from euclidesdb_server.rpc.legacy import SimilarService
from euclidesdb_server.rpc.listening import WHERE, is_loopback, listen_address
from euclidesdb_server.rpc.memory_share import within_memory
from euclidesdb_server.rpc.methods import Service, methods_of
from euclidesdb_server.rpc.reflection import reflection_methods
from euclidesdb_server.rpc.slow_calls import SlowCalls
from euclidesdb_server.rpc.transport import listen
from euclidesdb_server.rpc.v1 import FeatureDatabaseService
from euclidesdb_server.system.memory_limit import memory_limit


class RpcServer:
    """Serves from construction until `close`.

    address: what it listens on; with the actual port if the configuration says port 0.
    """

    def __init__(
        self,
        database: FeatureDatabase,
        queries: ItemQueries,
        models: ModelLifecycle,
        config: ServerConfig,
        *,
        stop: Callable[[], None],
        stats: Callable[[], DatabaseStats],
        jobs: EmbeddingJobs,
        observers: Sequence[CallObserver] = (),
        backups: Backups,
        access: Access | None = None,
        certificates: Certificates | None = None,
        where: str = WHERE,
    ) -> None:
        """Start listening.

        stop: called by a permitted `Shutdown` call. stats: the numbers of the database. access,
        certificates, observers: as in `listen`. where: where the address comes from, as in
        `Config.where`.

        Raises ConfigError.
        """
        config = within_memory(config, memory_limit())
        self._stats = stats
        # from other machines, these calls need an admin's key or an explicit permission
        local = is_loopback(listen_address(config.address, where))
        local = local or (access is not None and access.has_keys)
        permitted, changes = config.allow_remote_shutdown, config.allow_model_changes
        may_back_up = local if config.allow_backups is None else config.allow_backups
        legacy = SimilarService(
            database,
            stop,
            may_stop=local if permitted is None else permitted,
            may_refresh=permitted is not False,
        )
        v1 = FeatureDatabaseService(
            database,
            queries,
            models,
            jobs=jobs,
            backups=backups if may_back_up else None,
            stats=self.stats,
            may_change_models=local if changes is None else changes,
        )
        services: list[tuple[ServiceDescriptor, Service]] = [
            (euclidesproto_pb2.DESCRIPTOR.services_by_name["Similar"], legacy),
            (database_pb2.DESCRIPTOR.services_by_name["FeatureDatabase"], v1),
        ]
        with ExitStack() as opened:
            if config.health:
                names = [descriptor.full_name for descriptor, _ in services]
                health = HealthService(models.readiness, names)
                opened.callback(health.close)
                services.append((health_pb2.DESCRIPTOR.services_by_name["Health"], health))
            methods = [method for each in services for method in methods_of(*each)]
            if config.reflection:
                methods += reflection_methods(descriptor for descriptor, _ in services)
            if config.slow_call_ms:
                observers = (*observers, SlowCalls(config.slow_call_ms / 1000))
            self._listener = listen(
                methods,
                config,
                access=access,
                certificates=certificates,
                observers=observers,
                where=where,
            )
            self._watched = opened.pop_all()
        self.address = self._listener.address

    def stats(self) -> ServerStats:
        """The numbers of the server now."""
        return ServerStats(self._stats(), self._listener.measures.read(), self._listener.traffic())

    def close(self) -> None:
        """Refuse new calls with UNAVAILABLE; running ones get `shutdown_grace` s to finish.

        Those who watch the health of the server hear of it first.
        """
        self._watched.close()
        self._listener.close()
