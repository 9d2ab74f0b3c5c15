"""Repository: several backups in one place, which share the files that they have in common."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final, Self

from euclidesdb_server.backup.errors import BackupError
from euclidesdb_server.backup.manifest import ID, BackupManifest, ManifestFile, manifest_of
from euclidesdb_server.backup.remote import RemoteStorage
from euclidesdb_server.backup.storage import FolderStorage, Storage
from euclidesdb_server.config.paths import given_path
from euclidesdb_server.errors import ConfigError

MARK: Final = "euclidesdb-backups.json"
"""Says that a folder is a repository, and the format."""
FORMAT_VERSION: Final = 1
BACKUPS: Final = "backups"
OBJECTS: Final = "objects"
PIECE_BYTES: Final = 1 << 20


class Repository:
    """A repository that exists; a context manager. Raises BackupError and OSError."""

    def __init__(self, location: str, *, create: bool = False) -> None:
        """location: a path, or a URL with `://`. create: lock it, and make it if it is new."""
        self.storage = _storage(location)
        try:
            if create:
                self._check_empty_or_marked()
                self.storage.lock()
            self._check_mark(create=create)
        except BaseException:
            self.storage.close()
            raise

    def ids(self) -> list[str]:
        """The backups, the oldest first."""
        names = [Path(name) for name in self.storage.sizes(BACKUPS)]
        return sorted(
            (each.stem for each in names if each.suffix == ".json" and ID.fullmatch(each.stem)),
            key=_age,
        )

    def manifest(self, backup_id: str) -> BackupManifest:
        """What is in a backup."""
        name = f"{BACKUPS}/{backup_id}.json"
        where = f"{self.storage.place}/{name}"
        manifest = manifest_of(self._read(name), where)
        if manifest.id != backup_id:
            raise BackupError(f"{where} is that of backup {manifest.id}")
        return manifest

    def chosen(self, backup_id: str | None) -> BackupManifest:
        """The backup of an id, or the latest."""
        ids = self.ids()
        if not ids:
            raise BackupError(f"{self.storage.place} has no finished backup")
        if backup_id is not None and backup_id not in ids:
            raise BackupError(
                f"{self.storage.place} has no backup {backup_id!r}; it has {', '.join(ids[-5:])}"
                + (" and earlier ones" if len(ids) > 5 else "")
            )
        return self.manifest(backup_id or ids[-1])

    def objects(self) -> dict[str, int]:
        """Every content that is stored, by its SHA-256 in hexadecimal, and its size in bytes."""
        found = self.storage.sizes(OBJECTS)
        return {name.rpartition("/")[2]: size for name, size in found.items()}

    def add_object(self, file: Path, sha256: str) -> None:
        """Store a content; the file is gone then."""
        self.storage.put(file, _object_name(sha256))

    def pieces(self, file: ManifestFile) -> Iterator[bytes]:
        """The bytes of a file of a backup. Raises BackupError at the end if they are damaged."""
        found, size = hashlib.sha256(), 0
        name = _object_name(file.sha256)
        try:
            with closing(self.storage.open(name)) as stream:
                while piece := self._piece(stream, file):
                    found.update(piece)
                    size += len(piece)
                    yield piece
        except FileNotFoundError as error:
            raise BackupError(f"{self.storage.place}/{name} is missing: {file.path}") from error
        if (found.hexdigest(), size) != (file.sha256, file.size):
            raise BackupError(f"{self.storage.place}/{name} is damaged: {file.path}")

    def add_backup(self, manifest: BackupManifest) -> None:
        """Finish a backup, all of whose contents are stored: from now on it is there."""
        self.storage.sync()
        self._write(f"{BACKUPS}/{manifest.id}.json", manifest.to_bytes())

    def free_id(self, wanted: str) -> str:
        """`wanted`, or with a number if there is such a backup."""
        ids = {*self.ids()}
        number = 2
        found = wanted
        while found in ids:
            found, number = f"{wanted}-{number}", number + 1
        return found

    def prune(self, keep: int | None) -> tuple[int, int]:
        """Delete all backups but the last `keep` (None: none), and what no backup needs.

        The backups first, so whenever this is interrupted, those that are left are complete.
        Returns how many backups and how many contents were deleted.
        """
        ids = self.ids()
        removed = [] if keep is None else ids[:-keep]
        kept = [each for each in ids if each not in removed]
        needed = {file.sha256 for each in kept for file in self.manifest(each).files}
        for each in removed:
            self.storage.delete(f"{BACKUPS}/{each}.json")
        self.storage.sync()
        unneeded = [each for each in self.objects() if each not in needed]
        for each in unneeded:
            self.storage.delete(_object_name(each))
        self.storage.sync()
        return len(removed), len(unneeded)

    def close(self) -> None:
        """Unlock it."""
        self.storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _piece(self, stream: object, file: ManifestFile) -> bytes:
        try:
            return bytes(stream.read(PIECE_BYTES))  # type: ignore[attr-defined]
        except Exception as error:  # every file system raises errors of its own
            place = f"{self.storage.place}/{_object_name(file.sha256)}"
            raise BackupError(f"reading {place}: {error}") from error

    def _check_empty_or_marked(self) -> None:
        """Raise BackupError for what is something else; nothing is changed."""
        try:
            self._read(MARK)
        except FileNotFoundError as error:
            if not self.storage.is_empty():
                raise BackupError(
                    f"{self.storage.place} is not empty, and not a place of backups: it has no "
                    f"{MARK}"
                ) from error

    def _check_mark(self, *, create: bool) -> None:
        place = self.storage.place
        try:
            mark: Mapping[str, object] = json.loads(self._read(MARK))
            version = mark["format"]
        except FileNotFoundError as error:
            if not create:
                raise BackupError(f"{place} has no backups: it has no {MARK}") from error
            self._write(MARK, json.dumps({"format": FORMAT_VERSION}).encode())
            return
        except (ValueError, LookupError, TypeError) as error:
            raise BackupError(f"{place}/{MARK} cannot be read: {error}") from error
        if version != FORMAT_VERSION:
            raise BackupError(
                f"{place} has format {version}, but this program reads format {FORMAT_VERSION}"
            )

    def _read(self, name: str) -> bytes:
        with closing(self.storage.open(name)) as stream:
            return stream.read()

    def _write(self, name: str, content: bytes) -> None:
        file = self.storage.incoming / "record"
        file.write_bytes(content)
        self.storage.put(file, name)
        self.storage.sync()


def _storage(location: str) -> Storage:
    if "://" in location:
        return RemoteStorage(location)
    try:
        return FolderStorage(given_path(location))
    except ConfigError as error:
        raise BackupError(str(error)) from error


def _object_name(sha256: str) -> str:
    return f"{OBJECTS}/{sha256[:2]}/{sha256}"


def _age(backup_id: str) -> tuple[str, int]:
    time, _, number = backup_id.partition("-")
    return time, int(number or 1)
