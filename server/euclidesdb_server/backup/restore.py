"""Restores a backup: a data folder and a models folder, or neither.

Everything is written into `restoring.tmp` in the folders that receive it, compared with its
checksums and synced. Then it is renamed, the models first, and `leveldb/`, without which there is
no database, last. So whenever this is interrupted, there is no database or a complete one; a server
refuses to make a new one in the former case, and the next restore begins again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from euclidesdb_server.backup.errors import BackupError
from euclidesdb_server.backup.manifest import (
    DATA,
    MODELS,
    RESTORING,
    BackupManifest,
    ManifestFile,
)
from euclidesdb_server.backup.repository import Repository
from euclidesdb_server.system.fsync import make_folder, sync

STORE: Final = "leveldb"
"""As `store/layout.py` has it: a data folder without it holds no database."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Files that go to one folder. files: by their paths in it."""

    target: Path
    files: Mapping[str, ManifestFile]

    @property
    def made(self) -> Path:
        """Where they are written first."""
        return self.target / RESTORING

    def folders(self) -> list[str]:
        """What is to be renamed into the target; `leveldb` is the last."""
        names = {path.partition("/")[0] for path in self.files}
        return sorted(names, key=lambda name: (name == STORE, name))


def restore_backup(
    repository: Repository,
    manifest: BackupManifest,
    data: Path,
    models: Path | None,
    *,
    report: Callable[[int, int], None] = lambda _done, _all: None,
) -> None:
    """Restore a backup into the folder of a database and, unless None, one of models.

    data: must not exist, or be empty. models: must not have folders of the same names, unless they
    have exactly the files of the backup. report: called with the bytes written so far, and all.

    Raises BackupError, OSError; then neither has changed, but for a `restoring.tmp`, which the next
    restore deletes.
    """
    parts = [_Part(data, _below(DATA, manifest))]
    if models is not None:
        if data.resolve() == models.resolve():
            raise BackupError(f"{data} cannot be the folder of the database and of the models")
        parts.insert(0, _Part(models, _without_same(models, _below(MODELS, manifest))))
    _check_data_folder(data)
    _check_stored(repository, manifest)
    _check_room(parts)
    size = sum(file.size for part in parts for file in part.files.values())
    done = 0
    for part in parts:
        make_folder(part.target)
        _remove(part.made)
        for path, file in part.files.items():
            _write(repository, file, part.made / path)
            done += file.size
            report(done, size)
        _sync_folders(part.made)
    for part in parts:
        for name in part.folders():
            leftover = part.target / name  # of an interrupted restore, if it is there
            _remove(leftover)
            (part.made / name).rename(leftover)
            sync(part.target)
        if part.made.is_dir():
            part.made.rmdir()
        sync(part.target)


def _below(start: str, manifest: BackupManifest) -> dict[str, ManifestFile]:
    return {
        file.path.removeprefix(start): file
        for file in manifest.files
        if file.path.startswith(start)
    }


def _check_data_folder(data: Path) -> None:
    """Raise BackupError unless it may receive a database."""
    if data.exists() and not data.is_dir():
        raise BackupError(f"{data} is not a folder")
    found = sorted(path.name for path in data.iterdir()) if data.is_dir() else []
    interrupted = RESTORING in found and STORE not in found
    if found and not interrupted and found != ["lost+found"]:
        raise BackupError(
            f"{data} is not empty: it has {', '.join(found[:5])}; name another folder, or move "
            "what is there away"
        )


def _without_same(models: Path, files: Mapping[str, ManifestFile]) -> dict[str, ManifestFile]:
    """The files of the folders that are not there. Raises BackupError for a folder that differs."""
    wanted: dict[str, dict[str, ManifestFile]] = {}
    for path, file in files.items():
        wanted.setdefault(path.partition("/")[0], {})[path] = file
    missing: dict[str, ManifestFile] = {}
    for folder, own in wanted.items():
        target = models / folder
        if not target.exists():
            missing |= own
        elif not _has_exactly(models, target, own):
            raise BackupError(
                f"{target} exists, and is not that of the backup; move it away, or name another "
                "folder of models"
            )
    return missing


def _has_exactly(models: Path, folder: Path, files: Mapping[str, ManifestFile]) -> bool:
    found = {
        path.relative_to(models).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return found.keys() == files.keys() and all(
        found[path].stat().st_size == file.size and _digest(found[path]) == file.sha256
        for path, file in files.items()
    )


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_stored(repository: Repository, manifest: BackupManifest) -> None:
    """Raise BackupError for the first file that is missing or has another length."""
    stored = repository.objects()
    for file in manifest.files:
        if (size := stored.get(file.sha256)) != file.size:
            problem = "is missing" if size is None else f"has {size} bytes, not {file.size}"
            raise BackupError(
                f"backup {manifest.id} in {repository.storage.place} is damaged: {file.path} "
                f"({file.sha256}) {problem}"
            )


def _check_room(parts: Sequence[_Part]) -> None:
    """Raise BackupError unless the files have room."""
    needed: dict[int, int] = {}
    free: dict[int, tuple[Path, int]] = {}
    for part in parts:
        folder = next(each for each in (part.target, *part.target.parents) if each.is_dir())
        device = folder.stat().st_dev
        about = os.statvfs(folder)
        free[device] = (part.target, about.f_bavail * about.f_frsize)
        needed[device] = needed.get(device, 0) + sum(file.size for file in part.files.values())
    for device, (target, room) in free.items():
        if needed[device] > room:
            raise BackupError(
                f"the disk of {target} has {room:,} free bytes, but {needed[device]:,} are needed"
            )


def _write(repository: Repository, file: ManifestFile, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as stream:
        for piece in repository.pieces(file):
            stream.write(piece)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folders(folder: Path) -> None:
    for path in _folders(folder):
        sync(path)


def _folders(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield folder
        yield from (path for path in folder.rglob("*") if path.is_dir())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
