"""The composition root: the one place that knows every class.

`Server` opens what the configuration names in the order in which it can fail cheaply, and
closes it in the order in which the parts depend on one another.
"""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from euclidesdb_server.catalog import Catalog
from euclidesdb_server.config import Config, ModelsConfig
from euclidesdb_server.database import FeatureDatabase
from euclidesdb_server.engines.registry import Engines
from euclidesdb_server.errors import ConfigError, StartupError
from euclidesdb_server.layout import SEGMENTS_FOLDER, STORE_FOLDER
from euclidesdb_server.models import Model, ModelConf, ModelRegistry, configured_folders
from euclidesdb_server.rpc.server import RpcServer
from euclidesdb_server.spaces import Compactor, ModelSpace, RecallSampler
from euclidesdb_server.store import FeatureStore, ModelVersion, holds_euclidesdb, migrate
from euclidesdb_server.types import ModelState

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
            models.wait_until_settled(stop_wanted)
            _report_problems(models, config.models, strict=strict)
            sampler = RecallSampler(config.index.recall_interval)
            opened.callback(sampler.close)
            spaces = self._open_spaces(models, engines, folder / SEGMENTS_FOLDER, sampler)
            compactor = Compactor(config.index)
            opened.callback(compactor.close)
            for space in spaces.values():
                if space.lost_segment:
                    compactor.request(space)
                compactor.consider(space)
            self.database = FeatureDatabase(
                self._store,
                Catalog(models, spaces),
                compactor,
                max_top_k=config.server.max_top_k,
                keep_payloads=config.database.keep_payloads,
            )
            rpc = RpcServer(self.database, config.server, stop_wanted.set)
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

    def _open_spaces(
        self, models: ModelRegistry, engines: Engines, root: Path, sampler: RecallSampler
    ) -> dict[str, ModelSpace]:
        """A space per model, and per name that EuclidesDB knew and nothing serves now."""
        records = {
            space.model: space
            for space in self._store.spaces()
            if space.adopted and space.model not in models.served
        }
        for name, model in models.served.items():
            if self._has_space(name, model):
                version = (model.folder.fingerprint, model.folder.conf.feature_dim)
                records[name] = self._store.open_space(name, *version)
        used = {name: model.folder.engine for name, model in models.served.items()}
        return {
            name: ModelSpace(
                record,
                used.get(name) or engines.for_dim(record.feature_dim),
                self._store,
                root,
                sampler,
            )
            for name, record in records.items()
        }

    def _has_space(self, name: str, model: Model) -> bool:
        """Whether the model proved that it is what its model.conf says, now or before."""
        version = (name, model.folder.fingerprint, model.folder.conf.feature_dim)
        known = {
            (space.model, space.fingerprint, space.feature_dim) for space in self._store.spaces()
        }
        return model.state[0] is not ModelState.QUARANTINED or version in known


def _versions(config: ModelsConfig, engines: Engines) -> dict[str, ModelVersion]:
    return {
        name: ModelVersion(folder.fingerprint, folder.conf.feature_dim)
        for name, folder in configured_folders(config, engines).items()
    }


def _check_threads(config: Config, models: ModelRegistry) -> None:
    """A call that waits for its model holds a thread: too few, and batches cannot fill."""
    for name, model in models.served.items():
        conf = model.folder.conf
        needed = 2 * conf.max_batch_size if isinstance(conf, ModelConf) else 0
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
