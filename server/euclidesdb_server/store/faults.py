"""LevelDB's errors become ours, in one table."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import plyvel

from euclidesdb_server.errors import CorruptRecord, DiskFull, ShuttingDown, StorageError

NO_SPACE = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Raise our error for one of plyvel's; `doing` says what was under way."""
    try:
        yield
    except plyvel.CorruptionError as error:
        raise CorruptRecord(f"{doing}: the store is damaged: {_text(error)}") from error
    except plyvel.Error as error:
        text = _text(error)
        if any(reason in text for reason in NO_SPACE):
            raise DiskFull(f"{doing}: no room on disk: {text}") from error
        raise StorageError(f"{doing}: {text}") from error
    except RuntimeError as error:
        # plyvel says "Database is closed" with a bare RuntimeError
        raise ShuttingDown(f"{doing}: the store is closed") from error


def _text(error: plyvel.Error) -> str:
    parts = (
        part.decode(errors="replace") if isinstance(part, bytes) else str(part)
        for part in error.args
    )
    return " ".join(parts)
