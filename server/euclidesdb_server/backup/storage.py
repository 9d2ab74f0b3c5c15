"""Storage: where a repository keeps its files. This module: in a folder.

A name has slashes. A file is there as a whole or not at all.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from euclidesdb_server.backup.errors import BackupError
from euclidesdb_server.system.fsync import make_folder, sync

INCOMING: Final = "incoming"
"""Of files that are not complete; what an interrupted backup has left there is deleted."""
LOCK: Final = "lock"


class Storage(Protocol):
    """Files by name. Any of these raises OSError or BackupError. `put` may run in several threads.

    place: for messages. parallel: how many files are worth putting at the same time.
    """

    place: str
    parallel: int

    @property
    def incoming(self) -> Path:
        """A folder on this machine for files that are to be put."""

    def lock(self) -> None:
        """Keep other processes from changing it until `close`, as far as that is possible.

        Raises BackupError if another one is changing it.
        """

    def is_empty(self) -> bool:
        """Whether there is nothing at the place."""

    def sizes(self, folder: str) -> Mapping[str, int]:
        """The names of all files below a folder, and how many bytes they have."""

    def open(self, name: str) -> BinaryIO:
        """A file, to be read. Raises FileNotFoundError."""

    def put(self, file: Path, name: str) -> None:
        """Store a file of this machine, which is gone then."""

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""

    def sync(self) -> None:
        """Returns when all that was put and deleted is so after a power failure, too."""

    def close(self) -> None:
        """Delete what is left in `incoming`. Idempotent."""


class FolderStorage:
    """A folder of this machine. `Storage`."""

    parallel = 1

    def __init__(self, folder: Path) -> None:
        self.place = str(folder)
        self._folder = folder
        self._changed: set[Path] = set()
        self._lock: BinaryIO | None = None

    @property
    def incoming(self) -> Path:
        """As `Storage.incoming`."""
        return self._folder / INCOMING

    def lock(self) -> None:
        """As `Storage.lock`; also deletes what an interrupted backup has left."""
        if not self._folder.is_dir():
            make_folder(self._folder)
            self._folder.chmod(0o700)  # a backup holds all there is
        lock = (self._folder / LOCK).open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:
            lock.close()
            if isinstance(error, BlockingIOError):
                raise BackupError(
                    f"{self.place}: another process is writing a backup there"
                ) from error
            raise
        self._lock = lock  # only now, as `close` deletes what is incoming
        shutil.rmtree(self.incoming, ignore_errors=True)
        # a killed backup may have put files whose names are not on disk yet
        self._changed |= {*self._folder.glob("**/")}
        self.incoming.mkdir()

    def is_empty(self) -> bool:
        """As `Storage.is_empty`."""
        return not self._folder.is_dir() or {*os.listdir(self._folder)} <= {LOCK, INCOMING}  # noqa: PTH208

    def sizes(self, folder: str) -> Mapping[str, int]:
        """As `Storage.sizes`."""
        found = (path for path in (self._folder / folder).rglob("*") if path.is_file())
        return {path.relative_to(self._folder).as_posix(): path.stat().st_size for path in found}

    def open(self, name: str) -> BinaryIO:
        """As `Storage.open`."""
        return (self._folder / name).open("rb")

    def put(self, file: Path, name: str) -> None:
        """As `Storage.put`."""
        target = self._folder / name
        sync(file)
        make_folder(target.parent)
        file.rename(target)
        self._changed.add(target.parent)

    def delete(self, name: str) -> None:
        """As `Storage.delete`."""
        (self._folder / name).unlink(missing_ok=True)
        self._changed.add((self._folder / name).parent)

    def sync(self) -> None:
        """As `Storage.sync`."""
        for folder in self._changed:
            sync(folder)
        self._changed.clear()

    def close(self) -> None:
        """As `Storage.close`."""
        if self._lock is not None:
            shutil.rmtree(self.incoming, ignore_errors=True)
            self._lock.close()
            self._lock = None
