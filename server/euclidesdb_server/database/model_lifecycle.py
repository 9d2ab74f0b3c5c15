"""ModelLifecycle: models come, are replaced, and go while the server runs.

A new version serves once it has passed its load check; one that fails it leaves the old one
serving. The vectors of the old version stay searchable, as `model@fingerprint`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from euclidesdb_server.database.model_table import Catalog
from euclidesdb_server.database.requests import Call
from euclidesdb_server.database.results import ModelStatus
from euclidesdb_server.errors import (
    DeadlineExceeded,
    ModelLoadError,
    ModelRejected,
    ShuttingDown,
    StartupError,
)
from euclidesdb_server.index import Compactor, ModelSpace
from euclidesdb_server.inference import Model, ModelRegistry
from euclidesdb_server.values.status import ModelState

WAIT_INTERVAL: Final = 0.2
"""Seconds between looks at whether the caller still waits."""

log = logging.getLogger(__name__)


class ModelLifecycle:
    """Thread-safe: one change after the other.

    open_space: opens the space of a model's version.
    """

    def __init__(
        self,
        models: ModelRegistry,
        catalog: Catalog,
        compactor: Compactor,
        open_space: Callable[[Model], ModelSpace],
    ) -> None:
        self._models = models
        self._catalog = catalog
        self._compactor = compactor
        self._open_space = open_space
        self._one_at_a_time = threading.Lock()

    def load(self, folder: str, call: Call) -> ModelStatus:
        """Serve a folder of the models folder, in place of what serves its model's name now.

        Raises ModelRejected where it cannot be read, or fails its load check; DeadlineExceeded
        where the caller goes before that is known. Nothing has changed then.
        """
        remaining = call.time_remaining()
        if not self._one_at_a_time.acquire(timeout=-1 if remaining is None else max(0, remaining)):
            raise DeadlineExceeded(f"another model is being loaded: folder {folder!r} is not")
        try:
            try:
                model = self._models.start(folder)
            except ModelLoadError as error:
                raise ModelRejected(str(error)) from error
            try:
                self._wait(model, call)
                self._take_into_use(model, folder)
            except BaseException:
                self._models.end(model)
                raise
            log.info("model %r is loaded from folder %r", model.folder.conf.name, folder)
            return self._catalog.status(model.folder.conf.name)
        finally:
            self._one_at_a_time.release()

    def reload(self, name: str, call: Call) -> ModelStatus:
        """As `load`, of the folder that a model was loaded from. Raises UnknownModel, too."""
        return self.load(self._models.folder_of(name), call)

    def unload(self, name: str) -> None:
        """Stop serving a model; its items stay, searchable by vector and by id.

        Raises UnknownModel, ModelUnavailable.
        """
        with self._one_at_a_time:
            model = self._models.withdraw(name)
        self._end(model)
        log.info("model %r is unloaded", name)

    def _wait(self, model: Model, call: Call) -> None:
        started = False
        while not started:
            started = model.wait_until_started(WAIT_INTERVAL)
            remaining = call.time_remaining()
            if remaining is not None and remaining <= 0:
                raise DeadlineExceeded(f"model {model.folder.conf.name!r} did not load in time")
        state, reason = model.state
        if state is ModelState.LOADING:
            raise ShuttingDown("the server is stopping")
        if state is ModelState.QUARANTINED:
            raise ModelRejected(f"model {model.folder.conf.name!r} cannot be served: {reason}")

    def _take_into_use(self, model: Model, folder: str) -> None:
        conf, fingerprint = model.folder.conf, model.folder.fingerprint
        space = self._catalog.version(conf.name, fingerprint)
        if space is not None and not _serves(space, model):
            raise ModelRejected(
                f"model {conf.name!r}: another engine, its options or another feature_dim need a "
                "restart: its vectors are being searched"
            )
        # in this order: whoever meets the model finds its space
        try:
            space = self._open_space(model) if space is None else space
        except StartupError as error:
            raise ModelRejected(f"model {conf.name!r}: {error}") from error
        self._catalog.make_current(conf.name, space)
        self._compactor.consider(space)
        before = self._models.serve(model, folder)
        if before is not None:
            self._end(before)

    def _end(self, model: Model) -> None:
        # in the background: it answers what it was asked first
        name = f"end-{model.folder.conf.name}"
        threading.Thread(target=self._models.end, args=(model,), name=name, daemon=True).start()


def _serves(space: ModelSpace, model: Model) -> bool:
    """Whether a space that is open is what the model's folder says."""
    engine = model.folder.engine
    return (
        space.record.feature_dim == model.folder.conf.feature_dim
        and space.engine.name == engine.name
        and space.metric == engine.metric
        and space.engine.build_options == engine.build_options
    )
