"""Reads every record of a LevelDB, even if parts of it cannot be read, and writes repaired ones.

For `euclidesdb verify`: nothing else has the database open. `RecordScan` reads what is there,
`repaired_copy` reads what LevelDB's own repair recovers from a copy, `write_records` writes a new
database. Knows keys and values, not what they mean.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import plyvel

from euclidesdb_server.errors import DataFolderError
from euclidesdb_server.store.clean_shutdown import CLEAN_SHUTDOWN_FILE, was_shut_down_cleanly
from euclidesdb_server.store.folder_lock import FolderInUse
from euclidesdb_server.store.leveldb_errors import storage_text
from euclidesdb_server.store.leveldb_folder import OPTIONS, OpenLevelDB, open_leveldb
from euclidesdb_server.system.fsync import sync

BATCH_BYTES: Final = 4 << 20
"""About how much `write_records` writes at a time."""

_TABLE_LINE: Final = re.compile(
    rb"^ (\d+):\d+\['(.*)' @ \d+ : \d+ \.\. '(.*)' @ \d+ : \d+\]$", re.MULTILINE
)
"""A table in LevelDB's property `leveldb.sstables`: number, first and last key."""


class StoreInUse(DataFolderError):
    """Another process has the database open."""


@dataclass(slots=True)
class RecordScan:
    """An open LevelDB that is only read, any number of times; close it.

    clean_shutdown: it had been closed cleanly. damage: what could not be read so far.
    """

    folder: Path
    clean_shutdown: bool
    damage: list[str] = field(default_factory=list)
    _opened: OpenLevelDB | None = None
    _database: Any = None

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the database in `folder` as a server does, which cuts off torn writes.

        Raises StoreInUse, DataFolderError.
        """
        if not (folder / "CURRENT").is_file():
            raise DataFolderError(f"{folder} cannot be opened: it has no file CURRENT")
        clean_shutdown = was_shut_down_cleanly(folder)
        try:
            opened = open_leveldb(folder, sync_writes=True)
        except FolderInUse as error:
            raise StoreInUse(f"{folder} is in use by a running server") from error
        return cls(folder, clean_shutdown, _opened=opened, _database=opened.database)

    def close(self) -> None:
        """Close LevelDB, and record the clean shutdown again if there was a record of one."""
        if self._opened is not None:
            self._opened.close(intact=self.clean_shutdown)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Every record that can be read, in order of keys; continues after a damaged block."""
        iterator = self._database.raw_iterator(verify_checksums=True, fill_cache=False)
        failure = self._attempt(iterator.seek_to_first)
        last = b""
        while iterator.valid():
            key, value = iterator.item()
            if key == last:
                break
            if failure is not None and not self.damage:
                # only once: LevelDB repeats its first error at every step, and continues
                self._note_damage(failure, last)
            yield key, value
            last = key
            failure = self._attempt(iterator.next)
        if failure is not None and not self.damage:
            self._note_damage(failure, last)
        iterator.close()

    @staticmethod
    def _attempt(step: Callable[[], object]) -> str | None:
        """Move the iterator; returns LevelDB's error, if any."""
        try:
            step()
        except plyvel.Error as error:
            return storage_text(error)
        return None

    def _note_damage(self, failure: str, last: bytes) -> None:
        files = " or ".join(self._tables_after(last)) or "a table"
        shown = repr(last[:80]) if last else "the beginning"
        self.damage.append(
            f"{files} in {self.folder}: {failure}: records after {shown} cannot be read, "
            "and perhaps others"
        )

    def _tables_after(self, last: bytes) -> list[str]:
        """The table files that hold keys after `last`."""
        listing = self._database.get_property(b"leveldb.sstables") or b""
        return [
            f"{int(number):06d}.ldb"
            for number, _, end in _TABLE_LINE.findall(listing)
            if _unescaped(end) > last
        ]


def _unescaped(key: bytes) -> bytes:
    r"""A key from LevelDB's listing, which writes unprintable bytes as `\x00`."""
    return re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), key)


def repaired_copy(folder: Path, copy: Path) -> RecordScan:
    """What LevelDB's own repair recovers from a copy of a database that cannot be opened.

    It reads the tables and logs one by one, in no particular order: if a table that recorded
    removals is lost, what was removed comes back.

    Raises DataFolderError.
    """
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(CLEAN_SHUTDOWN_FILE, "LOCK"))
    try:
        plyvel.repair_db(str(copy), **OPTIONS)
    except plyvel.Error as error:
        raise DataFolderError(f"{folder} cannot be repaired: {storage_text(error)}") from error
    return RecordScan.open(copy)


def write_records(folder: Path, records: Iterable[tuple[bytes, bytes]]) -> None:
    """Create a database in `folder` with these records, all on disk when this returns."""
    database = plyvel.DB(str(folder), create_if_missing=True, error_if_exists=True, **OPTIONS)
    batch = database.write_batch()
    for key, value in records:
        batch.put(key, value)
        if batch.approximate_size() > BATCH_BYTES:
            batch.write()
            batch.clear()
    batch.write()
    database.close()
    for file in folder.iterdir():
        sync(file)
    sync(folder)
