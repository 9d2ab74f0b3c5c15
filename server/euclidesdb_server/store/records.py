"""Reading every record of a LevelDB, also where parts of it cannot be read."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import plyvel

from euclidesdb_server.errors import DataFolderError
from euclidesdb_server.store.clean_shutdown import NOTE, note_closed, was_closed
from euclidesdb_server.store.leveldb import OPTIONS
from euclidesdb_server.store.leveldb_errors import storage_text
from euclidesdb_server.store.torn_writes import damaged_logs
from euclidesdb_server.system.fsync import sync

BATCH_BYTES: Final = 4 << 20
TABLE: Final = re.compile(
    rb"^ (\d+):\d+\['(.*)' @ \d+ : \d+ \.\. '(.*)' @ \d+ : \d+\]$", re.MULTILINE
)


@dataclass(slots=True)
class Records:
    """A LevelDB that nothing else has open; close it.

    in_order: whether it had been closed in order. damage: what could not be read so far.
    """

    folder: Path
    in_order: bool
    damage: list[str] = field(default_factory=list)
    _database: Any = None

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open what is there. Raises DataFolderError."""
        if not (folder / "CURRENT").is_file():
            raise DataFolderError(f"{folder} cannot be opened: it has no file CURRENT")
        in_order = was_closed(folder)
        # LevelDB would pass over some damage, and leave no trace of it
        if damaged := damaged_logs(folder, in_order=in_order):
            raise DataFolderError(f"damaged: {', '.join(damaged)}")
        try:
            database = plyvel.DB(str(folder), create_if_missing=False, **OPTIONS)
        except (plyvel.Error, OSError) as error:
            text = storage_text(error)
            if "IO error: lock " in text:
                text = f"a server has it open: {text}"
            raise DataFolderError(f"{folder} cannot be opened: {text}") from error
        return cls(folder, in_order, _database=database)

    def close(self) -> None:
        """Close LevelDB, and say so again where it was closed in order before."""
        self._database.close()
        if self.in_order:
            note_closed(self.folder)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Every record that can be read, in order; behind a damaged block it goes on."""
        iterator = self._database.raw_iterator(verify_checksums=True, fill_cache=False)
        failed = self._step(iterator.seek_to_first)
        last = b""
        while iterator.valid():
            key, value = iterator.item()
            if key == last:
                break
            if failed is not None and not self.damage:
                # once: LevelDB repeats its first complaint at every step, and goes on
                self._note(failed, last)
            yield key, value
            last = key
            failed = self._step(iterator.next)
        if failed is not None and not self.damage:
            self._note(failed, last)
        iterator.close()

    @staticmethod
    def _step(step: Callable[..., object], *arguments: object) -> str | None:
        try:
            step(*arguments)
        except plyvel.Error as error:
            return storage_text(error)
        return None

    def _note(self, failed: str, last: bytes) -> None:
        files = " or ".join(self._tables(last)) or "a table"
        self.damage.append(
            f"{files} in {self.folder}: {failed}: records behind {_shown(last)} cannot be read, "
            "and perhaps others"
        )

    def _tables(self, last: bytes) -> list[str]:
        """The files that hold keys behind `last`."""
        told = self._database.get_property(b"leveldb.sstables") or b""
        return [
            f"{int(number):06d}.ldb" for number, _, end in TABLE.findall(told) if _key(end) > last
        ]


def _key(escaped: bytes) -> bytes:
    """A key of what LevelDB shows, where bytes that are no letters are escaped."""
    return re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), escaped)


def _shown(key: bytes) -> str:
    return repr(key[:80]) if key else "the beginning"


def repaired_copy(folder: Path, copy: Path) -> Records:
    """What LevelDB's own repair makes of a copy of a database that cannot be opened.

    It reads the tables and logs one by one, without their order: where a table is lost that
    says what was removed, that comes back.

    Raises DataFolderError.
    """
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(NOTE, "LOCK"))
    try:
        plyvel.repair_db(str(copy), **OPTIONS)
    except plyvel.Error as error:
        raise DataFolderError(f"{folder} cannot be repaired: {storage_text(error)}") from error
    return Records.open(copy)


def write_records(folder: Path, records: Iterable[tuple[bytes, bytes]]) -> None:
    """Make a new database of these records, all on disk when this returns."""
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
