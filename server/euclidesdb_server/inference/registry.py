"""ModelRegistry: reads the model folders, starts their models, and ends them.

Which model stands for a name is not decided here. A model can be started while an earlier version
of it is in use.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
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
    StartupError,
    UnknownModel,
)
from euclidesdb_server.inference.model import Model
from euclidesdb_server.inference.model_conf import MAX_NAME_BYTES
from euclidesdb_server.inference.model_folder import (
    MODEL_CONF,
    ModelFolder,
    VectorsFolder,
    engine_refusals,
    parse_model_folder,
    read_model_folder,
)
from euclidesdb_server.inference.ready_made_vectors import ReadyMadeVectors
from euclidesdb_server.inference.served_model import ServedModel
from euclidesdb_server.inference.worker_starts import WorkerStarts
from euclidesdb_server.values.status import ModelState
from euclidesdb_server.values.stop import CheckStop, never_stop

WHERE: Final = "[models] dir_path"
"""Where dir_path comes from, if there is neither a configuration file nor an option."""
NOT_MODELS: Final = (".", "__", "lost+found")
"""How the names of folders begin that are not models: hidden ones, byte code, a file system's."""
STOP_INTERVAL: Final = 0.1
"""Seconds between checks of whether the server is to stop while models load."""

log = logging.getLogger(__name__)

Folder: TypeAlias = ModelFolder | VectorsFolder


class ModelRegistry:
    """The models of one server. `close` is idempotent.

    models: those started at first, by name. broken: why a folder cannot be served, by folder name.
    """

    def __init__(
        self,
        config: ModelsConfig,
        engines: Engines | None = None,
        check_stop: CheckStop = never_stop,
        *,
        where: str = WHERE,
    ) -> None:
        """Start the model of every folder.

        engines: the search engines as configured; None: the default. where: where dir_path comes
        from, as in `Config.where`. Raises ConfigError, and what `check_stop` raises while the
        folders are read.
        """
        self._where = where
        self._config = config
        self._engines = engines or Engines()
        self._changing = threading.Lock()
        self._closed = False
        folders, broken = _read_folders(config, self._engines, check_stop, where)
        self.broken: Mapping[str, str] = MappingProxyType(broken)
        self._folder_names = {folder.conf.name: name for name, folder in folders.items()}
        workers = sum(
            len(folder.conf.seats) for folder in folders.values() if isinstance(folder, ModelFolder)
        )
        self._starts = WorkerStarts(config, workers)
        models = {folder.conf.name: self._start(folder) for folder in folders.values()}
        self.models: Mapping[str, Model] = MappingProxyType(models)
        self._alive = {*models.values()}

    def wait_until_tried(self, stop_wanted: threading.Event) -> None:
        """Wait until each model is ready, quarantined, or failed to start and is tried again.

        Raises ShuttingDown on `stop_wanted`.
        """
        for name, model in self.models.items():
            while not model.wait_until_tried(STOP_INTERVAL):
                if stop_wanted.is_set():
                    raise ShuttingDown("the server was stopped while models were loading")
            if model.state[0] is ModelState.READY:
                log.info("model %r is ready: %s", name, model.folder.fingerprint)

    def problems(self) -> list[str]:
        """Why models are not ready, one sentence each; empty if all are."""
        states = {name: model.state for name, model in self.models.items()}
        return [f"folder {name!r}: {reason}" for name, reason in self.broken.items()] + [
            f"model {name!r}: {reason}"
            for name, (state, reason) in states.items()
            if state in (ModelState.QUARANTINED, ModelState.LOADING)
        ]

    def report_problems(self, *, strict: bool) -> None:
        """Log that no model is served. strict: raise StartupError if any model is not ready."""
        problems = self.problems()
        if problems and strict:
            raise StartupError("--strict: not every model can be served: " + "; ".join(problems))
        if not self.models:
            log.warning("no model is served from %s", self._config.dir_path)

    def start(self, folder_name: str) -> Model:
        """Begin to load the model in a folder, which may be in use already.

        To be followed by `remember` or `end`. Raises ModelLoadError, ShuttingDown.
        """
        if folder_name in ("", ".", "..") or Path(folder_name).name != folder_name:
            raise ModelLoadError(
                f"{folder_name!r} is not the name of a folder in the models folder"
            )
        path = self._config.dir_path / folder_name
        if len(os.fsencode(folder_name)) > MAX_NAME_BYTES or not _may_be_folder(path):
            raise ModelLoadError(f"there is no folder {folder_name[:255]!r} in the models folder")
        folder = read_model_folder(path, self._engines)
        other = self._folder_names.get(folder.conf.name, folder_name)
        if other != folder_name and _may_be_folder(self._config.dir_path / other):
            raise ModelLoadError(
                f"folders {folder_name!r} and {other!r} both have model {folder.conf.name!r}: "
                "remove one of them, or the next restart would serve either"
            )
        with self._changing:
            if self._closed:
                raise ShuttingDown("the server is stopping")
            model = self._start(folder)
            self._alive.add(model)
        return model

    def folders_unlike(self, served: Mapping[str, Model]) -> list[str]:
        """The names of the folders whose model is not served as the folder is now.

        It is new, its model.conf or program has changed, or its model is quarantined.

        served: the models, by name. Raises ConfigError if dir_path cannot be read.
        """
        folders, _ = _read_folders(self._config, self._engines, never_stop, self._where)
        return [
            name
            for name, folder in folders.items()
            if (model := served.get(folder.conf.name)) is None
            or model.state[0] is ModelState.QUARANTINED
            or not model.folder.is_like(folder)
        ]

    def remember(self, model: Model, folder_name: str) -> None:
        """Note the folder that a model was loaded from."""
        with self._changing:
            self._folder_names[model.folder.conf.name] = folder_name

    def folder_of(self, name: str) -> str:
        """The folder that the model of that name was loaded from. Raises UnknownModel."""
        with self._changing:
            folder = self._folder_names.get(name)
        if folder is None:
            raise UnknownModel(f"no model {name!r} was loaded from the models folder")
        return folder

    def end(self, model: Model) -> None:
        """Let a model answer what it has been given, and end its workers."""
        model.close(ModelUnavailable(f"model {model.folder.conf.name!r} is no longer served"))
        with self._changing:
            self._alive.discard(model)

    def close(self) -> None:
        """End every worker, all at the same time, since one that hangs takes its time."""
        with self._changing:
            self._closed = True
            alive, self._alive = self._alive, set()
        if alive:
            with ThreadPoolExecutor(len(alive), thread_name_prefix="close") as threads:
                list(threads.map(lambda model: model.close(), alive))

    def _start(self, folder: Folder) -> Model:
        if isinstance(folder, VectorsFolder):
            return ReadyMadeVectors(folder)
        return ServedModel(folder, self._starts.of(folder))


def configured_folders(
    config: ModelsConfig,
    engines: Engines,
    check_stop: CheckStop = never_stop,
    *,
    where: str = WHERE,
) -> dict[str, Folder]:
    """The folders that can be read, by model name; no model is started.

    where: as in `ModelRegistry`. Raises ConfigError, and what `check_stop` raises.
    """
    folders, _ = _read_folders(config, engines, check_stop, where)
    return {folder.conf.name: folder for folder in folders.values()}


def _read_folders(
    config: ModelsConfig, engines: Engines, check_stop: CheckStop, where: str
) -> tuple[dict[str, Folder], dict[str, str]]:
    """The folders that can be served, and why the others cannot, by folder name.

    Raises ConfigError if dir_path cannot be read, or the server's engine works for no vectors.
    """
    folders: dict[str, Folder] = {}
    broken: dict[str, str] = {}
    paths: dict[str, Path] = {}
    for entry in _entries(config, where):
        try:
            folder = parse_model_folder(entry, engines, check_stop)
            if folder.conf.name in paths:
                other = paths[folder.conf.name]
                raise ModelLoadError(f"{entry}: {other} has a model {folder.conf.name!r}, too")
            folders[entry.name] = folder
            paths[folder.conf.name] = entry
        except ModelLoadError as error:
            broken[entry.name] = str(error)
    read = list(folders.items())
    refusals = engine_refusals([folder for _, folder in read], engines)
    for (name, folder), refusal in zip(read, refusals, strict=True):
        if refusal is not None:
            broken[name] = f"{paths[folder.conf.name] / MODEL_CONF}: {refusal}"
            del folders[name]
    for name, reason in broken.items():
        log.error("model folder %s is not served: %s", name, reason)
    return folders, broken


def _entries(config: ModelsConfig, where: str) -> list[Path]:
    names = [name.strip() for name in config.names.split(",") if name.strip()]
    if names:
        return [config.dir_path / name for name in dict.fromkeys(names)]
    try:
        entries = sorted(config.dir_path.iterdir())
    except OSError as error:
        raise ConfigError(f"{where}: cannot read {config.dir_path}: {error}") from error
    return [
        entry
        for entry in entries
        if not entry.name.startswith(NOT_MODELS) and _may_be_folder(entry)
    ]


def _may_be_folder(path: Path) -> bool:
    """Whether there is a folder, or something of which the system does not tell: an attempt to read
    it gives the reason.
    """
    try:
        return path.is_dir()
    except OSError:
        return True
