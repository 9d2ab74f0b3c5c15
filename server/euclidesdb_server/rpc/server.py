"""RpcServer: the gRPC server of one database, with both services on one port."""

from __future__ import annotations

from collections.abc import Callable

from euclidesdb_protos.legacy import euclidesproto_pb2
from euclidesdb_protos.v1 import database_pb2
from euclidesdb_server.access.certificates import Certificates
from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.database import EmbeddingJobs, FeatureDatabase, ItemQueries, ModelLifecycle
from euclidesdb_server.database.backups import Backups
from euclidesdb_server.rpc.access import Access
from euclidesdb_server.rpc.legacy import SimilarService
from euclidesdb_server.rpc.listening import WHERE, is_loopback, listen_address
from euclidesdb_server.rpc.methods import methods_of
from euclidesdb_server.rpc.transport import listen
from euclidesdb_server.rpc.v1 import FeatureDatabaseService


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
        stop: Callable[[], None],
        *,
        jobs: EmbeddingJobs,
        backups: Backups,
        access: Access | None = None,
        certificates: Certificates | None = None,
        where: str = WHERE,
    ) -> None:
        """Start listening.

        stop: called by a permitted `Shutdown` call. access, certificates: as in `listen`.
        where: where the address comes from, as in `Config.where`. Raises ConfigError.
        """
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
            may_change_models=local if changes is None else changes,
        )
        self._listener = listen(
            [
                *methods_of(euclidesproto_pb2.DESCRIPTOR.services_by_name["Similar"], legacy),
                *methods_of(database_pb2.DESCRIPTOR.services_by_name["FeatureDatabase"], v1),
            ],
            config,
            access=access,
            certificates=certificates,
            where=where,
        )
        self.address = self._listener.address

    def close(self) -> None:
        """Refuse new calls with UNAVAILABLE; running ones get `shutdown_grace` s to finish."""
        self._listener.close()
