"""FolderLock: the lock of a LevelDB's folder, taken before anything in it is read or changed.

LevelDB takes it itself, but only when it opens the database: torn writes have been cut off by
then, and the end of a log that another process is writing to looks like one.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from euclidesdb_server.errors import DataFolderError


class FolderInUse(DataFolderError):
    """Another process has the database open, or another object of this process."""


class FolderLock:
    """Holds LevelDB's file LOCK. `release` is idempotent.

    It is the same lock as LevelDB's: one of the whole process (POSIX record locks). LevelDB can
    take it, too, and gives it up for both when it closes the database or fails to open it. So hold
    this object while the database is open, and call `take` again after that.
    """

    def __init__(self, folder: Path) -> None:
        """Take the lock. Raises FolderInUse, OSError."""
        self._folder = folder
        self._file = (folder / "LOCK").open("ab")
        try:
            self.take()
        except BaseException:
            self._file.close()
            raise

    def take(self) -> None:
        """Take the lock; does nothing if it is held. Raises FolderInUse, OSError."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise in_use(self._folder, os.strerror(error.errno or 0)) from error

    def release(self) -> None:
        """Give the lock up, LevelDB's too."""
        self._file.close()


def in_use(folder: Path, reason: str) -> FolderInUse:
    """The error for a folder that is open elsewhere."""
    return FolderInUse(f"the data folder {folder} is in use by another server: {reason}")
