"""LevelDB's errors become ours, in one table."""

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

NO_SPACE: Final = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))

LEVELDB_ERRORS: Final = (plyvel.Error, RuntimeError)
"""What plyvel raises; it says "Database is closed" with a bare RuntimeError."""


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Raise our error for one of plyvel's; `doing` says what was under way."""
    try:
        yield
    except LEVELDB_ERRORS as error:
        raise translated(error, doing) from error


def translated(error: Exception, doing: str) -> DatabaseError:
    """Our error for one of LEVELDB_ERRORS."""
    if isinstance(error, plyvel.Error):
        return storage_error(error, doing)
    return ShuttingDown(f"{doing}: the store was closed meanwhile; try again")


def storage_error(error: plyvel.Error, doing: str) -> StorageError:
    """Our error for one of LevelDB's own."""
    text = storage_text(error)
    if isinstance(error, plyvel.CorruptionError):
        return CorruptRecord(
            f"{doing}: the store is damaged: {text}; `euclidesdb verify` says which file"
        )
    if any(reason in text for reason in NO_SPACE):
        return DiskFull(f"{doing}: no room on disk: {text}")
    return StorageError(f"{doing}: {text}")


def storage_text(error: Exception) -> str:
    """What LevelDB says, in words."""
    parts = (
        part.decode(errors="replace") if isinstance(part, bytes) else str(part)
        for part in error.args
    )
    return " ".join(parts)
