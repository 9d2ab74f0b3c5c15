"""ModelLifecycle: models are loaded, replaced and unloaded while the server runs.

A new version serves once it has passed its load check; if it fails, the old one goes on serving.
A call is answered by the version that it resolved, even if that is replaced meanwhile, unless it
waits for its model for more than a minute after that. The vectors of the old version can still be
searched, as `model@fingerprint`, until that version is dropped.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.database.requests import Call, NoCaller
from euclidesdb_server.database.results import ModelStatus
from euclidesdb_server.database.serving import Serving
from euclidesdb_server.database.version_drops import VersionDrops
from euclidesdb_server.errors import (
    DatabaseError,
    DeadlineExceeded,
    ModelLoadError,
    ModelRejected,
    ShuttingDown,
    StartupError,
)
from euclidesdb_server.index import Compactor, ModelSpace
from euclidesdb_server.inference import Model, ModelRegistry
from euclidesdb_server.inference.restarts import Pauses
from euclidesdb_server.values.status import ModelState

WAIT_INTERVAL: Final = 0.2
"""Seconds between checks of the caller's deadline while a model loads."""
SPACE_PAUSES: Final = Pauses(first=1.0)
"""Before the space of a model that became ready late is opened again, if that has failed."""
DRAIN_TIMEOUT: Final = 60.0
"""Seconds that the calls of a retired model version have to end."""

log = logging.getLogger(__name__)


class ModelLifecycle:
    """Thread-safe: one change after the other.

    open_space: opens the space of a model's version. drops: deletes versions.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        models: ModelTable,
        compactor: Compactor,
        open_space: Callable[[Model], ModelSpace],
        drops: VersionDrops,
    ) -> None:
        self._registry = registry
        self._models = models
        self._compactor = compactor
        self._open_space = open_space
        self._drops = drops
        self._changing = threading.Lock()

    def load(self, folder: str, call: Call) -> ModelStatus:
        """Serve a folder of the models folder, instead of what serves its model's name now.

        Raises ModelRejected if it cannot be read or fails its load check, DeadlineExceeded if the
        caller's deadline passes before that is known. Then nothing has changed.
        """
        remaining = call.time_remaining()
        if not self._changing.acquire(timeout=-1 if remaining is None else max(0, remaining)):
            raise DeadlineExceeded(f"folder {folder!r}: another model was being loaded")
        try:
            try:
                model = self._registry.start(folder)
            except ModelLoadError as error:
                raise ModelRejected(str(error)) from error
            try:
                self._wait(model, call)
                space = self._space_of(model)
            except BaseException:
                self._registry.end(model)
                raise
            before = self._models.serve(model, space, folder)
            self._registry.remember(model, folder)
            self._compactor.consider(space)
            if before is not None:
                self._retire(before)
            log.info("model %r is loaded from folder %r", model.folder.conf.name, folder)
            return self._models.status(model.folder.conf.name)
        finally:
            self._changing.release()

    def reload(self, name: str, call: Call) -> ModelStatus:
        """As `load`, with the folder that a model was loaded from. Also raises UnknownModel."""
        return self.load(self._registry.folder_of(name), call)

    def load_changed(self) -> None:
        """`load` each folder that is new or has changed, and each whose model is quarantined.

        Folders that cannot be served are logged. Raises ConfigError if the models folder cannot be
        read, ShuttingDown.
        """
        for folder in self._registry.folders_unlike(self._models.models()):
            try:
                self.load(folder, NoCaller())
            except ShuttingDown:
                raise
            except DatabaseError as error:
                log.error("model folder %s is not loaded: %s", folder, error)

    def readiness(self) -> dict[str, bool]:
        """As `ModelTable.readiness`."""
        return self._models.readiness()

    def serve_when_ready(self) -> None:
        """Open the spaces of models that were not ready at the start, once they are; returns at
        once.

        Before that they have not proved their model.conf right.
        """
        for name, model in self._models.models().items():
            if self._models.resolve(name).space is None:
                threading.Thread(
                    target=self._serve_late, args=(model,), name=f"late-{name}", daemon=True
                ).start()

    def unload(self, name: str) -> None:
        """Stop serving a model; its items can still be searched by vector and by id.

        Raises UnknownModel, ModelUnavailable.
        """
        with self._changing:
            self._retire(self._models.withdraw(name))
        log.info("model %r is unloaded", name)

    def drop(self, name: str) -> None:
        """Delete a superseded version with all its vectors, and serve it no longer.

        When this returns, no call finds the version any more, even after a crash. Its disk space is
        freed in the background. Items stay, even those that have no other vector.

        Raises UnknownModel, InvalidRequest (the version is in service), StorageError.
        """
        with self._changing:
            space = self._models.earlier_version(name)
            self._drops.begin(space)
            self._models.forget(space)

    def _wait(self, model: Model, call: Call) -> None:
        """Wait until a model is ready. Raises unless it is in time, at the first attempt."""
        name = model.folder.conf.name
        while not model.wait_until_tried(WAIT_INTERVAL):
            remaining = call.time_remaining()
            if not call.is_active() or (remaining is not None and remaining <= 0):
                raise DeadlineExceeded(f"model {name!r} did not load in time")
        state, reason = model.state
        if state is ModelState.LOADING and not reason:
            raise ShuttingDown("the server is stopping")
        if state in (ModelState.QUARANTINED, ModelState.LOADING):
            raise ModelRejected(f"model {name!r} cannot be served: {reason}")

    def _serve_late(self, model: Model) -> None:
        name = model.folder.conf.name
        model.wait_until_started()
        if model.state[0] in (ModelState.LOADING, ModelState.QUARANTINED):
            return  # it was closed before it was ready, or it was rejected
        for attempt in itertools.count(1):
            with self._changing:
                if self._models.models().get(name) is not model:
                    return
                try:
                    space = self._space_of(model)
                except ShuttingDown:
                    return
                except DatabaseError as error:
                    pause = SPACE_PAUSES.after(attempt)
                    log.error(
                        "model %r is ready but not served; its space is opened again in %.3g s: %s",
                        name, pause, error,
                    )  # fmt: skip
                else:
                    self._models.serve(model, space, self._registry.folder_of(name))
                    self._compactor.consider(space)
                    log.info("model %r is ready: %s", name, model.folder.fingerprint)
                    return
            time.sleep(pause)

    def _space_of(self, model: Model) -> ModelSpace:
        name, fingerprint = model.folder.conf.name, model.folder.fingerprint
        space = self._models.space_of_version(name, fingerprint)
        if space is not None and not _fits(space, model):
            raise ModelRejected(
                f"model {name!r}: the vectors of this version are being searched with another "
                "feature_dim, engine or engine options; to change these, restart the server"
            )
        try:
            if space is not None:
                self._drops.keep(space.record.number)
                return space
            return self._open_space(model)
        except StartupError as error:
            raise ModelRejected(f"model {name!r}: {error}") from error

    def _retire(self, serving: Serving) -> None:
        """End a model that is served no longer once its last call has ended; returns at once."""
        model = serving.model
        if model is None:
            return

        def end() -> None:
            if not serving.leases.retire(DRAIN_TIMEOUT):
                log.warning("model %r is ended while calls use it", serving.name)
            self._registry.end(model)

        threading.Thread(target=end, name=f"retire-{serving.name}", daemon=True).start()


def _fits(space: ModelSpace, model: Model) -> bool:
    """Whether an open space is searched as the model's folder configures it."""
    engine = model.folder.engine
    return (
        space.record.feature_dim == model.folder.conf.feature_dim
        and space.engine.name == engine.name
        and space.metric == engine.metric
        and space.engine.build_options == engine.build_options
    )
