"""LevelDB's errors and the project's errors for them, in one table.

LevelDB reports only a text, so what went wrong is read from it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import plyvel

from euclidesdb_server.errors import (
    CorruptRecord,
    DatabaseError,
    DiskFull,
    ShuttingDown,
    StorageError,
)

LEVELDB_ERRORS: Final = (plyvel.Error, RuntimeError)
"""What plyvel raises; for "Database is closed" it is a bare RuntimeError."""

_NO_SPACE: Final = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
_DISK_FAILS: Final = os.strerror(errno.EIO)


@contextmanager
def storage_errors(operation: str) -> Iterator[None]:
    """Raise the project's error for one of plyvel's. operation: for the message ("reading")."""
    try:
        yield
    except LEVELDB_ERRORS as error:
        raise translated(error, operation) from error


def translated(error: Exception, operation: str) -> DatabaseError:
    """The project's error for one of LEVELDB_ERRORS."""
    if isinstance(error, plyvel.Error):
        return storage_error(error, operation)
    return ShuttingDown(f"{operation}: the store was closed meanwhile; try again")


def storage_error(error: plyvel.Error, operation: str) -> StorageError:
    """The project's error for one that LevelDB reported."""
    text = storage_text(error)
    if isinstance(error, plyvel.CorruptionError):
        return CorruptRecord(
            f"{operation}: the store is damaged: {text}; "
            "run `euclidesdb verify` to find the damaged file"
        )
    if is_no_space_error(text):
        return DiskFull(f"{operation}: no room on disk: {text}")
    return StorageError(f"{operation}: {text}")


def storage_text(error: Exception) -> str:
    """The text of LevelDB's error."""
    parts = (
        part.decode(errors="replace") if isinstance(part, bytes) else str(part)
        for part in error.args
    )
    return " ".join(parts)


def is_no_space_error(text: str) -> bool:
    """Whether the text of an error reports a full disk or an exceeded quota."""
    return any(reason in text for reason in _NO_SPACE)


def is_disk_error(text: str) -> bool:
    """Whether the text of an error reports a disk that is full or fails."""
    return is_no_space_error(text) or _DISK_FAILS in text


def is_lock_error(text: str) -> bool:
    """Whether the text of LevelDB's error reports that another process has the database open."""
    return "IO error: lock " in text
