"""ModelRegistry: every folder in the models folder, served or reported with the reason why not."""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from euclidesdb_server.config import ModelsConfig
from euclidesdb_server.engines.registry import Engines
from euclidesdb_server.errors import (
    ConfigError,
    ModelLoadError,
    ModelUnavailable,
    ShuttingDown,
    UnknownModel,
)
from euclidesdb_server.models.conf import ModelFolder, VectorsFolder, read_model_folder
from euclidesdb_server.models.protocol import Model
from euclidesdb_server.models.ready_made import ReadyMadeVectors
from euclidesdb_server.models.served import ServedModel
from euclidesdb_server.models.worker_process import WorkerProcess
from euclidesdb_server.types import ModelState

STOP_INTERVAL: Final = 0.1
"""Seconds between looks at whether the server is to stop while models load."""

log = logging.getLogger(__name__)

Folder: TypeAlias = ModelFolder | VectorsFolder


class ModelRegistry:
    """The models of one server. `close` is idempotent.

    served: by name. broken: the reason, by folder name, of each folder that says too little to
    be served. Both are fixed once the registry is made.
    """

    def __init__(self, config: ModelsConfig, engines: Engines | None = None) -> None:
        """Start every model.

        engines: what the configuration says of search engines; None: nothing. Raises ConfigError.
        """
        folders, self._broken = _read_folders(config, engines or Engines())
        programs = sum(isinstance(folder, ModelFolder) for folder in folders)
        threads = config.worker_threads or max(1, len(os.sched_getaffinity(0)) // max(1, programs))
        self._served = {folder.conf.name: _served(folder, config, threads) for folder in folders}

    def wait_until_settled(self, stop_wanted: threading.Event) -> None:
        """Wait until each model is ready, or quarantined. Raises ShuttingDown on `stop_wanted`."""
        for name, model in self._served.items():
            while not model.wait_until_settled(STOP_INTERVAL):
                if stop_wanted.is_set():
                    raise ShuttingDown("stopped while models were loading")
            if model.state[0] is ModelState.READY:
                log.info("model %r is ready: %s", name, model.folder.fingerprint)

    @property
    def served(self) -> Mapping[str, Model]:
        """The models by name, quarantined ones included."""
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
            if name in self._broken:
                raise ModelUnavailable(
                    f"model {name!r} cannot be served: {self._broken[name]}"
                ) from error
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

    def close(self) -> None:
        """End every worker; all at once, as one that hangs takes its time."""
        if self._served:
            with ThreadPoolExecutor(len(self._served), thread_name_prefix="close") as threads:
                list(threads.map(lambda model: model.close(), self._served.values()))


def configured_folders(config: ModelsConfig, engines: Engines) -> dict[str, Folder]:
    """The folders that make sense, by model name; nothing is started. Raises ConfigError."""
    return {folder.conf.name: folder for folder in _read_folders(config, engines)[0]}


def _served(folder: Folder, config: ModelsConfig, threads: int) -> Model:
    if isinstance(folder, VectorsFolder):
        return ReadyMadeVectors(folder)
    start = functools.partial(
        WorkerProcess,
        folder,
        threads=threads,
        max_image_pixels=config.max_image_pixels,
        start_timeout=config.start_timeout,
    )
    return ServedModel(folder, start)


def _read_folders(config: ModelsConfig, engines: Engines) -> tuple[list[Folder], dict[str, str]]:
    folders: dict[str, Folder] = {}
    broken: dict[str, str] = {}
    places: dict[str, Path] = {}
    for entry in _entries(config):
        try:
            folder = read_model_folder(entry, engines)
            if folder.conf.name in folders:
                other = places[folder.conf.name]
                raise ModelLoadError(f"{entry}: {other} has a model {folder.conf.name!r}, too")
            folders[folder.conf.name] = folder
            places[folder.conf.name] = entry
        except ModelLoadError as error:
            log.error("model folder %s is not served: %s", entry, error)
            broken[entry.name] = str(error)
    return list(folders.values()), broken


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
