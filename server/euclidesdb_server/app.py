"""The composition root: the one place that knows every class.

`Server` opens what the configuration names, what can fail cheaply first, and closes it in the
reverse order of dependency.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import Self

from euclidesdb_server.access import Certificates, KeyRing
from euclidesdb_server.columns import ItemTable
from euclidesdb_server.config.access import TlsConfig
from euclidesdb_server.config.server import KIB, MIB, Config
from euclidesdb_server.database import (
    Embedder,
    EmbeddingJobs,
    FeatureDatabase,
    ItemQueries,
    ModelFields,
    ModelLifecycle,
    ModelTable,
    SpaceOpener,
    SpaceSizes,
    VersionDrops,
    initial_servings,
)
from euclidesdb_server.database.backups import Backups
from euclidesdb_server.engines.registry import Engines
from euclidesdb_server.errors import ShuttingDown
from euclidesdb_server.index import Compactor, RecallSampler, SegmentBuilder
from euclidesdb_server.inference import (
    ModelRegistry,
    configured_folders,
    embedding_cache,
)
from euclidesdb_server.monitoring.collection import Collection
from euclidesdb_server.rpc.access import Access, access_of, check_access
from euclidesdb_server.rpc.call_measures import CallObserver
from euclidesdb_server.rpc.listening import listen_address, reserve_address
from euclidesdb_server.rpc.observation import serve_metrics, tracing
from euclidesdb_server.rpc.server import RpcServer
from euclidesdb_server.rpc.v1_filters import stored_filter
from euclidesdb_server.store import (
    FeatureStore,
    ModelVersion,
    holds_euclidesdb,
    migrate,
)
from euclidesdb_server.store.layout import COLUMNS_FOLDER, SEGMENTS_FOLDER, STORE_FOLDER
from euclidesdb_server.system.file_watch import FileWatch
from euclidesdb_server.values.stop import CheckStop

log = logging.getLogger(__name__)


class Server:
    """A running server; it serves from construction until `close`.

    address: what it listens on; with the actual port if the configuration says port 0.
    metrics_address: likewise; None if no metrics are served. drops: the versions that are being
    deleted. jobs: that run models over stored items.
    """

    def __init__(
        self,
        config: Config,
        stop_wanted: threading.Event,
        *,
        strict: bool = False,
        observers: Sequence[CallObserver] = (),
    ) -> None:
        """Start.

        stop_wanted: set by a permitted `Shutdown` call; the owner waits for it and closes the
        server. If it is set during the start, that ends within a second or two: ShuttingDown is
        raised, and the next start continues from the data folder.
        strict: a model that cannot be served is an error. observers: what is to know of calls.

        Raises StartupError.
        """
        address_from = config.where("server", "address")
        address = listen_address(config.server.address, address_from)
        check_access(config)
        engines = Engines(config.server.search_engine, config.engines, config.file)

        def check_stop() -> None:
            if stop_wanted.is_set():
                raise ShuttingDown("the server was stopped while it was starting")

        with ExitStack() as opened:
            opened.enter_context(reserve_address(address, address_from))
            watch = opened.enter_context(FileWatch())
            access = _access(config, watch)
            certificates = _certificates(config, watch)
            folder = config.database.db_path
            store = folder / STORE_FOLDER
            write_buffer_bytes = config.database.write_buffer_kib * KIB
            if holds_euclidesdb(folder) and not store.exists():
                migrate(
                    folder,
                    store,
                    _versions(config, engines, check_stop),
                    check_stop,
                    write_buffer_bytes=write_buffer_bytes,
                )
            self._store = opened.enter_context(
                FeatureStore(
                    store, sync=config.database.sync, write_buffer_bytes=write_buffer_bytes
                )
            )
            table = ItemTable(
                self._store, folder / COLUMNS_FOLDER, flush_rows=config.index.compact_rows
            )
            opened.callback(table.close)
            check_stop()
            registry = ModelRegistry(
                config.models, engines, check_stop, where=config.where("models", "dir_path")
            )
            opened.callback(registry.close)
            registry.wait_until_tried(stop_wanted)
            registry.report_problems(strict=strict)
            sampler = RecallSampler(config.index.recall_interval)
            opened.callback(sampler.close)
            segments = folder / SEGMENTS_FOLDER
            compactor = Compactor(config.index)
            opened.callback(compactor.close)
            builder = SegmentBuilder(config.index)
            opener = SpaceOpener(
                self._store,
                engines,
                segments,
                builder,
                config.index.build_threads,
                sampler,
                compactor,
                stop_wanted,
            )
            sizes = SpaceSizes(self._store, segments)
            opened.callback(sizes.close)
            models = ModelTable(
                initial_servings(self._store, registry, opener), registry.broken, sizes
            )
            cache = embedding_cache(config.models.cache_mib * MIB)
            database = FeatureDatabase(
                self._store,
                models,
                Embedder(models, cache),
                compactor,
                table,
                limits=config.server,
                keep_payloads=config.database.keep_payloads,
            )
            self.database = opened.enter_context(closing(database))
            self.drops = opened.enter_context(
                closing(
                    VersionDrops(
                        self._store, database.lock_items, segments, stop_rewriting=compactor.forget
                    )
                )
            )
            self._lifecycle = ModelLifecycle(
                registry, models, compactor, opener.of_model, self.drops
            )
            self._lifecycle.serve_when_ready()
            self.queries = ItemQueries(table, ModelFields(models), limits=config.server)
            self.jobs = opened.enter_context(
                closing(_embedding_jobs(self._store, models, table, self.database, self.queries))
            )
            numbers = Collection(folder, self._store, models, builder, table, cache=cache)
            rpc = RpcServer(
                self.database,
                self.queries,
                self._lifecycle,
                config.server,
                stop=stop_wanted.set,
                jobs=self.jobs,
                stats=numbers.read,
                observers=[*observers, *tracing(config, opened)],
                backups=Backups(
                    self._store, models, registry, config.models.dir_path, config.search_settings()
                ),
                access=access,
                certificates=certificates,
                where=address_from,
            )
            opened.callback(rpc.close)
            self.address = rpc.address
            self.metrics_address = serve_metrics(config, rpc.stats, opened)
            self._opened = opened.pop_all()

    def load_changed_models(self) -> None:
        """Load the model folders that are new or have changed; log those that cannot be served.

        Raises ShuttingDown.
        """
        self._lifecycle.load_changed()

    def close(self) -> None:
        """Stop gracefully: running calls finish, new ones get UNAVAILABLE. Idempotent."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _access(config: Config, watch: FileWatch) -> Access:
    """Who may call. Raises ConfigError."""
    file = config.auth.keys_file
    if file is None:
        return access_of(config.auth, None)
    keys = KeyRing(file, config.where("auth", "keys_file"), watch)
    access = access_of(config.auth, keys)
    keys.on_change(access.changed)
    return access


def _certificates(config: Config, watch: FileWatch) -> Certificates | None:
    """What the server proves itself with, if connections are to be encrypted."""
    if config.tls == TlsConfig():
        return None
    return Certificates(config.tls, config.where, watch)


def _embedding_jobs(
    store: FeatureStore,
    models: ModelTable,
    table: ItemTable,
    database: FeatureDatabase,
    queries: ItemQueries,
) -> EmbeddingJobs:
    read_filter = functools.partial(stored_filter, resolver=queries.fields)
    return EmbeddingJobs(store, models, table, database.job_steps, read_filter)


def _versions(config: Config, engines: Engines, check_stop: CheckStop) -> dict[str, ModelVersion]:
    where = config.where("models", "dir_path")
    folders = configured_folders(config.models, engines, check_stop, where=where)
    return {
        name: ModelVersion(folder.fingerprint, folder.conf.feature_dim)
        for name, folder in folders.items()
    }
