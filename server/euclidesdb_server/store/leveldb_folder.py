"""The folder of a LevelDB: created durably, checked and repaired of torn writes, then opened.

- `open_leveldb` returns an open `plyvel.DB`. A new folder is written under another name and
  renamed, so a crash leaves either no database or a complete one. An existing one is opened only
  if its logs are intact: a torn write at the end of a log is cut off, any other damage is refused.
- `close_leveldb` closes it and records the clean shutdown (`clean_shutdown.py`).
- `has_room_to_reopen` tells whether the disk has room for what opening writes.

Knows nothing of the records in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import plyvel

from euclidesdb_server.errors import DataFolderError
from euclidesdb_server.store.clean_shutdown import (
    clear_clean_shutdown,
    record_clean_shutdown,
    was_shut_down_cleanly,
)
from euclidesdb_server.store.leveldb_errors import is_lock_error, storage_text
from euclidesdb_server.store.torn_writes import truncate_torn_writes
from euclidesdb_server.system.fsync import make_folder, sync

OPTIONS: Final[Mapping[str, Any]] = {
    "write_buffer_size": 16 << 20,
    "lru_cache_size": 32 << 20,
    "bloom_filter_bits": 10,  # most ids that are added are new: the filter saves a disk read each
    # Without it LevelDB verifies neither a table's index and filter nor what a compaction reads
    # (which then gets a new, valid checksum), and skips damaged writes when it replays its log.
    "paranoid_checks": True,
}

REPAIRED: Final = "leveldb.repaired"
"""The folder of a repaired store that is about to replace the old one (`euclidesdb verify`)."""

REOPEN_SPARE_BYTES: Final = 4 << 20
"""Disk space that opening needs in addition to the table that it writes from the log."""


def open_leveldb(folder: Path, *, sync_writes: bool) -> Any:
    """Open the LevelDB in `folder`, or create an empty one. Returns a `plyvel.DB`.

    sync_writes: every write is synced (`truncate_torn_writes` needs to know).

    Raises DataFolderError: the folder is damaged, in use, or cannot be created.
    """
    try:
        if not folder.is_dir() or not any(folder.iterdir()):
            _create(folder)
        elif not (folder / "CURRENT").is_file():
            # LevelDB would create a new database and delete the files that are there
            raise DataFolderError(f"the store in {folder} is damaged: it has no file CURRENT")
        _probe_file(folder).unlink(missing_ok=True)
        truncate_torn_writes(
            folder,
            folder.with_name(folder.name + ".torn"),
            clean_shutdown=was_shut_down_cleanly(folder),
            synced=sync_writes,
        )
        database = plyvel.DB(str(folder), create_if_missing=False, **OPTIONS)
        clear_clean_shutdown(folder)
        # LevelDB does not sync the folder, so after a power cut CURRENT could be the old one
        sync(folder)
        return database
    except plyvel.CorruptionError as error:
        raise DataFolderError(
            f"the store in {folder} is damaged: {storage_text(error)}; "
            "run `euclidesdb verify` to list the damage, with --repair to repair it"
        ) from error
    except (plyvel.Error, OSError) as error:
        text = storage_text(error)
        if is_lock_error(text):
            raise DataFolderError(
                f"the data folder {folder} is in use by another server: {text}"
            ) from error
        raise DataFolderError(f"cannot open the data folder {folder}: {text}") from error


def close_leveldb(database: Any, folder: Path, *, intact: bool) -> None:
    """Close an open database. All its writes must have been synced.

    intact: no write failed since it was opened, so the clean shutdown can be recorded.
    """
    database.close()
    if intact:
        with suppress(OSError):  # without the record, the next start only checks less strictly
            record_clean_shutdown(folder)


def has_room_to_reopen(folder: Path) -> bool:
    """Whether the disk has room for the tables that opening would write from the logs.

    It is tried by writing a file of that size. Raises OSError if writing it fails.
    """
    needed = REOPEN_SPARE_BYTES
    for log in folder.glob("*.log"):
        with suppress(FileNotFoundError):  # LevelDB may delete a log at any time
            needed += log.stat().st_size
    probe = _probe_file(folder)
    block = bytes(1 << 20)
    try:
        with probe.open("wb", buffering=0) as file:
            return all(file.write(block) == len(block) for _ in range(0, needed, len(block)))
    finally:
        probe.unlink(missing_ok=True)


def _probe_file(folder: Path) -> Path:
    return folder.with_name(folder.name + ".probe")


def _create(folder: Path) -> None:
    """Create an empty database; a power cut leaves either all of it or nothing."""
    if folder.with_name(REPAIRED).exists():
        raise DataFolderError(
            f"a repair of {folder} was interrupted: finish it with `euclidesdb verify --repair`"
        )
    unfinished = folder.with_name(folder.name + ".making")
    shutil.rmtree(unfinished, ignore_errors=True)
    make_folder(folder.parent)
    plyvel.DB(str(unfinished), create_if_missing=True, **OPTIONS).close()
    for file in unfinished.iterdir():
        sync(file)
    sync(unfinished)
    unfinished.rename(folder)
    sync(folder.parent)
