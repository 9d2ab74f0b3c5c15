"""The composition root: the one place that knows every class.

`Server` opens what the configuration names in the order in which it can fail cheaply, and
closes it in the order in which the parts depend on one another.
"""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from euclidesdb_server.config.server import MIB, Config, ModelsConfig
from euclidesdb_server.database.embedder import Embedder
from euclidesdb_server.database.feature_database import FeatureDatabase
from euclidesdb_server.database.model_lifecycle import ModelLifecycle
from euclidesdb_server.database.model_table import Catalog
from euclidesdb_server.engines import SearchEngine
from euclidesdb_server.engines.registry import Engines
from euclidesdb_server.errors import ConfigError, StartupError
from euclidesdb_server.index import Compactor, ModelSpace, RecallSampler
from euclidesdb_server.inference import (
    EmbeddingCache,
    Model,
    ModelRegistry,
    ProgramConf,
    configured_folders,
)
from euclidesdb_server.rpc.server import RpcServer
from euclidesdb_server.store import (
    FeatureStore,
    ModelVersion,
    SpaceRecord,
    holds_euclidesdb,
    migrate,
)
from euclidesdb_server.store.layout import SEGMENTS_FOLDER, STORE_FOLDER
from euclidesdb_server.values.status import ModelState

log = logging.getLogger(__name__)


class Server:
    """A running server; it serves from when it is made until `close`.

    address: where it listens, with the port it got where the configuration says 0.
    """

    def __init__(
        self, config: Config, stop_wanted: threading.Event, *, strict: bool = False
    ) -> None:
        """Start.

        stop_wanted: set by a permitted `Shutdown` call; whoever waits for it closes the server.
        Set meanwhile, it ends the wait for the models, and ShuttingDown is raised.
        strict: a model that cannot be served is an error. Raises StartupError.
        """
        engines = Engines(config.server.search_engine, config.engines, config.file)
        with ExitStack() as opened:
            folder = config.database.db_path
            store = folder / STORE_FOLDER
            if holds_euclidesdb(folder) and not store.exists():
                migrate(folder, store, _versions(config.models, engines))
            self._store = FeatureStore(store, sync=config.database.sync)
            opened.callback(self._store.close)
            models = ModelRegistry(config.models, engines)
            opened.callback(models.close)
            _check_threads(config, models)
            models.wait_until_started(stop_wanted)
            _report_problems(models, config.models, strict=strict)
            sampler = RecallSampler(config.index.recall_interval)
            opened.callback(sampler.close)
            opener = _SpaceOpener(self._store, engines, folder / SEGMENTS_FOLDER, sampler)
            cache_bytes = config.models.cache_mib * MIB
            cache = EmbeddingCache(cache_bytes) if cache_bytes else None
            catalog = Catalog(models, *_open_spaces(self._store, models, opener))
            compactor = Compactor(config.index)
            opened.callback(compactor.close)
            for space in catalog.spaces():
                if space.lost_segment:
                    compactor.request(space)
                compactor.consider(space)
            self.database = FeatureDatabase(
                self._store,
                catalog,
                Embedder(models, catalog, cache),
                compactor,
                max_top_k=config.server.max_top_k,
                keep_payloads=config.database.keep_payloads,
            )
            loader = ModelLifecycle(models, catalog, compactor, opener.of_model)
            rpc = RpcServer(self.database, loader, config.server, stop_wanted.set)
            opened.callback(rpc.close)
            self.address = rpc.address
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Stop gracefully: running calls finish, new ones get UNAVAILABLE. Idempotent."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _SpaceOpener:
    """Opens the spaces of a store."""

    store: FeatureStore
    engines: Engines
    root: Path
    sampler: RecallSampler

    def of_model(self, model: Model) -> ModelSpace:
        """The space of the version that a model is; made where it is new."""
        conf = model.folder.conf
        record = self.store.open_space(conf.name, model.folder.fingerprint, conf.feature_dim)
        return self.open(record, model.folder.engine)

    def open(self, record: SpaceRecord, engine: SearchEngine | None = None) -> ModelSpace:
        """The space of a record; searched by the server's engine where none is given."""
        engine = engine or self.engines.for_dim(record.feature_dim)
        return ModelSpace(record, engine, self.store, self.root, self.sampler)


def _open_spaces(
    store: FeatureStore, models: ModelRegistry, opener: _SpaceOpener
) -> tuple[dict[str, ModelSpace], list[ModelSpace]]:
    """The spaces by the name that means them, and those of former versions.

    A name that no model serves any more means the version that came last.
    """
    known = {(space.model, space.fingerprint, space.feature_dim) for space in store.spaces()}
    current = {
        name: opener.of_model(model)
        for name, model in models.served.items()
        # it proved that it is what its model.conf says, now or before
        if model.state[0] is not ModelState.QUARANTINED
        or (name, model.folder.fingerprint, model.folder.conf.feature_dim) in known
    }
    in_use = {space.record.number for space in current.values()}
    superseded: list[ModelSpace] = []
    for record in reversed(store.spaces()):
        if record.number in in_use:
            continue
        model = models.served.get(record.model)
        fits = model is not None and model.folder.conf.feature_dim == record.feature_dim
        space = opener.open(record, model.folder.engine if model is not None and fits else None)
        if model is None and record.model not in current:
            current[record.model] = space
        else:
            superseded.append(space)
    return current, superseded


def _versions(config: ModelsConfig, engines: Engines) -> dict[str, ModelVersion]:
    return {
        name: ModelVersion(folder.fingerprint, folder.conf.feature_dim)
        for name, folder in configured_folders(config, engines).items()
    }


def _check_threads(config: Config, models: ModelRegistry) -> None:
    """A call that waits for its model holds a thread: too few, and batches cannot fill."""
    for name, model in models.served.items():
        conf = model.folder.conf
        needed = 2 * conf.max_batch_size if isinstance(conf, ProgramConf) else 0
        if config.server.threads < needed:
            raise ConfigError(
                f"{config.file or 'options'}: [server] threads = {config.server.threads} should be "
                f"at least {needed}, twice the max_batch_size of model {name!r}"
            )


def _report_problems(models: ModelRegistry, config: ModelsConfig, *, strict: bool) -> None:
    problems = models.problems()
    if problems and strict:
        raise StartupError("--strict: not every model can be served: " + "; ".join(problems))
    if not models.served:
        log.warning("no model is served from %s", config.dir_path)
