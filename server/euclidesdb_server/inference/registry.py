"""ModelRegistry: every folder in the models folder, served or reported with the reason why not.

Models come and go while the server runs: one is started beside those that serve, and takes its
place among them once it is ready.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from euclidesdb_server.config.server import ModelsConfig
from euclidesdb_server.engines.registry import Engines
from euclidesdb_server.errors import (
    ConfigError,
    ModelLoadError,
    ModelUnavailable,
    ShuttingDown,
    UnknownModel,
)
from euclidesdb_server.inference.model import Model
from euclidesdb_server.inference.model_folder import ModelFolder, VectorsFolder, read_model_folder
from euclidesdb_server.inference.ready_made_vectors import ReadyMadeVectors
from euclidesdb_server.inference.served_model import ServedModel
from euclidesdb_server.inference.shared_worker import SharedWorkers
from euclidesdb_server.inference.worker_process import WorkerProcess
from euclidesdb_server.values.status import ModelState

STOP_INTERVAL: Final = 0.1
"""Seconds between looks at whether the server is to stop while models load."""
DRAIN_TIMEOUT: Final = 60.0
"""Seconds for a model that was replaced to answer what was waiting for it."""

log = logging.getLogger(__name__)

Folder: TypeAlias = ModelFolder | VectorsFolder


class ModelRegistry:
    """The models of one server. `close` is idempotent.

    served: by name. broken: the reason, by folder name, of each folder that says too little to
    be served.
    """

    def __init__(self, config: ModelsConfig, engines: Engines | None = None) -> None:
        """Start every model.

        engines: what the configuration says of search engines; None: nothing. Raises ConfigError.
        """
        self._config = config
        self._engines = engines or Engines()
        self._changing = threading.Lock()
        self._closed = False
        self._shared_workers = SharedWorkers()
        folders, self._broken = _read_folders(config, self._engines)
        self._places = {folder.conf.name: place for place, folder in folders.items()}
        workers = sum(
            len(folder.conf.seats) for folder in folders.values() if isinstance(folder, ModelFolder)
        )
        self._threads = config.worker_threads or max(
            1, len(os.sched_getaffinity(0)) // max(1, workers)
        )
        # replaced as a whole, so that readers need no lock
        self._served = {folder.conf.name: self._start(folder) for folder in folders.values()}
        self._alive = {*self._served.values()}

    def wait_until_started(self, stop_wanted: threading.Event) -> None:
        """Wait until each model is ready, or quarantined. Raises ShuttingDown on `stop_wanted`."""
        for name, model in self._served.items():
            while not model.wait_until_started(STOP_INTERVAL):
                if stop_wanted.is_set():
                    raise ShuttingDown("stopped while models were loading")
            if model.state[0] is ModelState.READY:
                log.info("model %r is ready: %s", name, model.folder.fingerprint)

    @property
    def served(self) -> Mapping[str, Model]:
        """The models by name as they are now, quarantined ones included."""
        return MappingProxyType(self._served)

    @property
    def broken(self) -> Mapping[str, str]:
        """Why each folder that could not even be read is not served, by folder name."""
        return MappingProxyType(self._broken)

    def get(self, name: str) -> Model:
        """The model of that name.

        Raises UnknownModel naming the known ones, ModelUnavailable for a broken folder.
        """
        try:
            return self._served[name]
        except KeyError as error:
            reason = self._broken.get(name)
            if reason is not None:
                raise ModelUnavailable(f"model {name!r} cannot be served: {reason}") from error
            known = ", ".join(repr(known) for known in sorted(self._served)) or "none"
            raise UnknownModel(f"no model {name!r}; the models served are: {known}") from error

    def problems(self) -> list[str]:
        """Why models are not ready, one sentence each; empty where all are."""
        standings = {name: model.state for name, model in self._served.items()}
        return [f"folder {name!r}: {reason}" for name, reason in self._broken.items()] + [
            f"model {name!r}: {reason}"
            for name, (state, reason) in standings.items()
            if state is ModelState.QUARANTINED
        ]

    def start(self, folder_name: str) -> Model:
        """Begin to load a model folder that may be served already; nobody is served by it yet.

        To be followed by `serve` or `end`. Raises ModelLoadError, ShuttingDown.
        """
        if folder_name in ("", ".", "..") or Path(folder_name).name != folder_name:
            raise ModelLoadError(f"{folder_name!r} is no name of a folder in the models folder")
        path = self._config.dir_path / folder_name
        try:
            there = path.is_dir()
        except OSError:  # a name that is too long
            there = False
        if not there:
            raise ModelLoadError(f"there is no folder {folder_name[:255]!r} in the models folder")
        folder = read_model_folder(path, self._engines)
        place = self._places.get(folder.conf.name, folder_name)
        if place != folder_name and (self._config.dir_path / place).is_dir():
            raise ModelLoadError(
                f"folder {folder_name!r} is of model {folder.conf.name!r}, as folder {place!r} is: "
                "remove one of them, or a restart would choose"
            )
        with self._changing:
            if self._closed:
                raise ShuttingDown("the server is stopping")
            model = self._start(folder)
            self._alive.add(model)
        return model

    def serve(self, model: Model, folder_name: str) -> Model | None:
        """Have a model serve those who ask for its name; returns the one that did before."""
        name = model.folder.conf.name
        with self._changing:
            before = self._served.get(name)
            self._places[name] = folder_name
            self._served = {**self._served, name: model}
            self._broken = {
                key: reason for key, reason in self._broken.items() if key != folder_name
            }
        return before

    def folder_of(self, name: str) -> str:
        """The folder that the model of that name was loaded from. Raises UnknownModel."""
        with self._changing:
            folder = self._places.get(name)
        if folder is None:
            raise UnknownModel(f"no model {name!r} was loaded from the models folder")
        return folder

    def withdraw(self, name: str) -> Model:
        """Have a model serve nobody any more. Raises UnknownModel, ModelUnavailable."""
        with self._changing:
            model = self.get(name)
            self._served = {key: other for key, other in self._served.items() if key != name}
        return model

    def end(self, model: Model) -> None:
        """Let a model that nobody asks any more answer what it was asked, and end its workers."""
        until = time.monotonic() + DRAIN_TIMEOUT
        while model.waiting() and time.monotonic() < until:
            time.sleep(STOP_INTERVAL)
        model.close(ModelUnavailable(f"model {model.folder.conf.name!r} is no longer served"))
        with self._changing:
            self._alive.discard(model)

    def close(self) -> None:
        """End every worker; all at once, as one that hangs takes its time."""
        with self._changing:
            self._closed = True
            alive, self._alive = self._alive, set()
        if alive:
            with ThreadPoolExecutor(len(alive), thread_name_prefix="close") as threads:
                list(threads.map(lambda model: model.close(), alive))

    def _start(self, folder: Folder) -> Model:
        if isinstance(folder, VectorsFolder):
            return ReadyMadeVectors(folder)

        def start(give_up: Callable[[], bool], device: str) -> WorkerProcess:
            worker = WorkerProcess(
                folder,
                give_up,
                device,
                threads=folder.conf.threads or self._threads,
                max_image_pixels=self._config.max_image_pixels,
                start_timeout=self._config.start_timeout,
                shared_workers=self._shared_workers,
            )
            try:
                folder.check_unchanged()  # now that it has read them
            except ModelLoadError:
                worker.stop()
                worker.release()
                raise
            return worker

        return ServedModel(folder, start)


def configured_folders(config: ModelsConfig, engines: Engines) -> dict[str, Folder]:
    """The folders that make sense, by model name; nothing is started. Raises ConfigError."""
    folders, _ = _read_folders(config, engines)
    return {folder.conf.name: folder for folder in folders.values()}


def _read_folders(
    config: ModelsConfig, engines: Engines
) -> tuple[dict[str, Folder], dict[str, str]]:
    """The folders that make sense, and why the others do not, by folder name."""
    folders: dict[str, Folder] = {}
    broken: dict[str, str] = {}
    places: dict[str, Path] = {}
    for entry in _entries(config):
        try:
            folder = read_model_folder(entry, engines)
            if folder.conf.name in places:
                other = places[folder.conf.name]
                raise ModelLoadError(f"{entry}: {other} has a model {folder.conf.name!r}, too")
            folders[entry.name] = folder
            places[folder.conf.name] = entry
        except ModelLoadError as error:
            log.error("model folder %s is not served: %s", entry, error)
            broken[entry.name] = str(error)
    return folders, broken


def _entries(config: ModelsConfig) -> list[Path]:
    names = [name.strip() for name in config.names.split(",") if name.strip()]
    if names:
        return [config.dir_path / name for name in names]
    try:
        entries = sorted(entry for entry in config.dir_path.iterdir() if entry.is_dir())
    except OSError as error:
        raise ConfigError(f"[models] dir_path: cannot read {config.dir_path}: {error}") from error
    # hidden folders and byte code are nobody's models
    return [entry for entry in entries if not entry.name.startswith((".", "__"))]
