"""Backups: the files of the database and of its models, as they are at one moment.

The data folder comes from a checkpoint of the store. The folder of each model that is served is
read where it is; if its files are not those that were loaded, a warning says so, and if they change
while they are read, the backup fails. Versions that are served no longer have no program here.

Knows nothing of where the files go.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.errors import BackupInProgress, StorageError, disk_error
from euclidesdb_server.inference import Model, ModelRegistry
from euclidesdb_server.inference.model_folder import ModelFolder
from euclidesdb_server.store import FeatureStore
from euclidesdb_server.store.checkpoint import Checkpoint
from euclidesdb_server.values.status import ModelState

DATA: Final = "data"
MODELS: Final = "models"
"""The first parts of the paths in a backup."""
PIECE_BYTES: Final = 512 << 10
MAX_SUMS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class FileState:
    """What changes when a file does, and its size in bytes."""

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> FileState:
        """From what the system tells of a file."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of a backup. path: in the backup, with slashes. size: in bytes."""

    path: str
    source: Path
    size: int


@dataclass(frozen=True, slots=True)
class BackedUpModel:
    """A model whose folder is in a backup. folder: its name in the models folder."""

    name: str
    folder: str
    fingerprint: str


@dataclass(slots=True)
class Backup:
    """The files of one moment, until `close`, which is idempotent.

    created: seconds since 1970. search: the configuration of searches, by "[section] key".
    warnings: what is not in it, or not as it was loaded. held_seconds: how long writes waited.
    """

    files: Sequence[SourceFile]
    models: Sequence[BackedUpModel]
    search: Mapping[str, str]
    warnings: Sequence[str]
    created: float
    held_seconds: float
    _sums: dict[FileState, bytes]
    _release: Callable[[], None]

    def digest(self, file: SourceFile) -> Iterator[bytes | None]:
        """The SHA-256 of a file, after any number of None: each stands for a piece that was read.

        Raises StorageError.
        """
        state = _state(file)
        if state not in self._sums:
            for _ in (reading := _Reading(file, self._sums)).pieces():
                yield None
            state = reading.state
        yield self._sums[state]

    def read(self, file: SourceFile) -> _Reading:
        """The bytes of a file."""
        return _Reading(file, self._sums)

    def close(self) -> None:
        """Release the files; another backup may begin."""
        self._release()


class _Reading:
    """Reads a file once. state: of the file. digest: SHA-256 of what has been read."""

    def __init__(self, file: SourceFile, sums: dict[FileState, bytes]) -> None:
        self._file = file
        self._sums = sums
        self._sum = hashlib.sha256()
        self.state = _state(file)

    @property
    def digest(self) -> bytes:
        return self._sum.digest()

    def pieces(self) -> Iterator[bytes]:
        """Its bytes. Raises StorageError, also if the file changes in the meantime."""
        try:
            with self._file.source.open("rb", buffering=0) as stream:
                self.state = FileState.of(os.fstat(stream.fileno()))
                while piece := stream.read(PIECE_BYTES):
                    self._sum.update(piece)
                    yield piece
                changed = FileState.of(os.fstat(stream.fileno())) != self.state
        except OSError as error:
            raise disk_error(error, f"reading {self._file.source} for a backup") from error
        if changed or self.state.size != self._file.size:
            raise StorageError(
                f"{self._file.source} changed while it was read for a backup; run the backup again"
            )
        if len(self._sums) >= MAX_SUMS:
            self._sums.clear()
        self._sums[self.state] = self.digest


@dataclass(slots=True)
class Backups:
    """Begins backups, one at a time. Thread-safe.

    models_folder: the folder of all model folders. search: as `Backup.search`.
    """

    store: FeatureStore
    models: ModelTable
    registry: ModelRegistry
    models_folder: Path
    search: Mapping[str, str]
    _running: threading.Lock = field(default_factory=threading.Lock)
    _sums: dict[FileState, bytes] = field(default_factory=dict)

    def begin(self) -> Backup:
        """The files as of now; close it.

        Raises BackupInProgress, StorageError (DiskFull), ShuttingDown.
        """
        if not self._running.acquire(blocking=False):
            raise BackupInProgress("another backup of this server is running")
        checkpoint: Checkpoint | None = None
        try:
            checkpoint = self.store.checkpoints.take()
            created = time.time()
            files = [
                _source(f"{DATA}/{name}", checkpoint.folder / name) for name in checkpoint.files
            ]
            models, warnings = self._models()
            for model in models:
                files += _files_of(model, self.models_folder / model.folder)
        except BaseException:
            if checkpoint is not None:
                checkpoint.close()
            self._running.release()
            raise
        return Backup(
            files,
            models,
            self.search,
            warnings,
            created,
            checkpoint.held_seconds,
            self._sums,
            _Release(checkpoint, self._running),
        )

    def _models(self) -> tuple[list[BackedUpModel], list[str]]:
        """The models that are served, and warnings."""
        served = {
            name: model
            for name, model in self.models.models().items()
            if model.state[0] is not ModelState.QUARANTINED
        }
        unlike = {*self.registry.folders_unlike(served)}
        found, warnings = [], []
        for name, model in sorted(served.items()):
            folder = self.registry.folder_of(name)
            if not (self.models_folder / folder).is_dir():
                warnings.append(f"model {name!r} is not in the backup: its folder is missing")
                continue
            if folder in unlike:
                warnings.append(
                    f"model {name!r}: the files in its folder are not those that were loaded; the "
                    "backup has them as they are now"
                )
            warnings += _outside(name, model, self.models_folder / folder)
            found.append(BackedUpModel(name, folder, model.folder.fingerprint))
        return found, warnings


class _Release:
    """Closes a checkpoint and lets another backup begin, once."""

    def __init__(self, checkpoint: Checkpoint, running: threading.Lock) -> None:
        self._checkpoint: Checkpoint | None = checkpoint
        self._running = running

    def __call__(self) -> None:
        checkpoint, self._checkpoint = self._checkpoint, None
        if checkpoint is not None:
            checkpoint.close()
            self._running.release()


def _outside(name: str, model: Model, folder: Path) -> Iterator[str]:
    if isinstance(model.folder, ModelFolder):
        program = model.folder.program
        if not program.resolve().is_relative_to(folder.resolve()):
            yield f"the program of model {name!r} is outside its folder, and not in the backup"


def _files_of(model: BackedUpModel, folder: Path) -> Iterator[SourceFile]:
    """All files of a model folder. Raises StorageError."""
    try:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                name = path.relative_to(folder).as_posix()
                yield _source(f"{MODELS}/{model.folder}/{name}", path)
    except OSError as error:
        raise disk_error(error, f"reading {folder} for a backup") from error


def _source(path: str, source: Path) -> SourceFile:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise StorageError(f"the name of {source!r} is not valid UTF-8: rename it") from error
    return SourceFile(path, source, source.stat().st_size)


def _state(file: SourceFile) -> FileState:
    try:
        return FileState.of(file.source.stat())
    except OSError as error:
        raise disk_error(error, f"reading {file.source} for a backup") from error
